//! `/v1/agent/check*`: this agent's own checks.

use super::agent::render_done;
use super::body;
use super::options::refuse_namespaces;
use super::reply::{Page, Refusal};
use super::route::{Act, Call, Intake};
use super::view::Entries;
use super::view::check::CheckView;
use crate::config::definition::CheckDefinition;
use crate::config::field::{Error as FieldError, Fields, GoType};
use crate::endpoint::agent::{Op, Reply};
use agent_core::model::check::Status;

/// A request without a body.
const fn tell(
    parse: fn(&Call<'_>, Vec<u8>) -> Result<Op, Refusal>,
    render: fn(&Call<'_>, Reply) -> Page,
) -> Act {
    Act::Tell { intake: Intake::Nothing, parse, render }
}

pub(super) const LIST: Act = tell(parse_list, render_list);
pub(super) const REGISTER: Act =
    Act::Tell { intake: Intake::Json, parse: parse_register, render: render_done };
pub(super) const DEREGISTER: Act = tell(parse_deregister, render_done);
pub(super) const PASS: Act = tell(parse_pass, render_done);
pub(super) const WARN: Act = tell(parse_warn, render_done);
pub(super) const FAIL: Act = tell(parse_fail, render_done);
pub(super) const UPDATE: Act =
    Act::Tell { intake: Intake::Json, parse: parse_update, render: render_done };

fn parse_list(call: &Call<'_>, _: Vec<u8>) -> Result<Op, Refusal> {
    refuse_namespaces(call)?;
    Ok(Op::Checks { filter: call.params.get("filter").to_owned() })
}

/// Shows checks by id.
fn render_list(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Checks(checks) = reply else { return Page::unexpected() };
    let checks: Vec<_> = checks.into_iter().collect();
    Page::json(call, &Entries::of(&checks, |(id, check)| (id, CheckView::from(&**check))))
}

/// Reads a registration.
fn parse_register(call: &Call<'_>, bytes: Vec<u8>) -> Result<Op, Refusal> {
    refuse_namespaces(call)?;
    let value = body::json(&bytes)?;
    let definition = CheckDefinition::from_json(value).map_err(body::decode_failed)?;
    Ok(Op::RegisterCheck { definition: Box::new(definition) })
}

fn parse_deregister(call: &Call<'_>, _: Vec<u8>) -> Result<Op, Refusal> {
    refuse_namespaces(call)?;
    if call.rest.is_empty() {
        return Err(Refusal::failed("CheckID missing"));
    }
    Ok(Op::DeregisterCheck { id: call.rest.to_owned() })
}

fn parse_pass(call: &Call<'_>, _: Vec<u8>) -> Result<Op, Refusal> {
    noted(call, Status::Passing)
}

fn parse_warn(call: &Call<'_>, _: Vec<u8>) -> Result<Op, Refusal> {
    noted(call, Status::Warning)
}

fn parse_fail(call: &Call<'_>, _: Vec<u8>) -> Result<Op, Refusal> {
    noted(call, Status::Critical)
}

/// Reads a status with its `note`.
fn noted(call: &Call<'_>, status: Status) -> Result<Op, Refusal> {
    refuse_namespaces(call)?;
    let output = call.params.get("note").to_owned();
    Ok(Op::UpdateCheck { id: call.rest.to_owned(), status, output })
}

/// Reads a status with its output from the body.
fn parse_update(call: &Call<'_>, bytes: Vec<u8>) -> Result<Op, Refusal> {
    refuse_namespaces(call)?;
    let value = body::json(&bytes)?;
    let (status, output) = read_update(value).map_err(body::decode_failed)?;
    let Some(status) = Status::parse(&status) else {
        return Err(Refusal::bad(format!("Invalid check status: '{status}'")));
    };
    Ok(Op::UpdateCheck { id: call.rest.to_owned(), status, output })
}

/// Reads the two fields of an update.
fn read_update(value: serde_json::Value) -> Result<(String, String), FieldError> {
    let mut fields = Fields::of(value, "agent.checkUpdate")?;
    let (mut status, mut output) = (String::new(), String::new());
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "status" => status = value.string(&key)?,
            "output" => output = value.string(&key)?,
            _ => return Err(FieldError::Unknown(key)),
        }
    }
    Ok((status, output))
}
