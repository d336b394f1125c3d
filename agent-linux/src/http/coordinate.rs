//! `/v1/coordinate/`: where nodes are.

use super::ask::read;
use super::body;
use super::options::{read_options, write_options};
use super::reply::{Freshness, Page, Refusal};
use super::route::{Act, Call, Intake};
use super::view::Each;
use super::view::coordinate::RowView;
use crate::config::field::{Error as FieldError, Fields, GoType};
use agent_core::gossip::coordinate::DIMENSIONS;
use agent_core::model::coordinate::{Coordinate, Datacenter, Query, Reply as Found, Row};
use agent_core::model::request::{Body, Query as AnyQuery, Reply, Request};
use hyper::StatusCode;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

pub(super) const DATACENTERS: Act = read(parse_datacenters, render_datacenters, Freshness::Untold);
pub(super) const NODES: Act = read(parse_nodes, render_nodes, Freshness::Told);
pub(super) const NODE: Act = read(parse_node, render_node, Freshness::Present);
pub(super) const UPDATE: Act = Act::Ask {
    intake: Intake::Json,
    parse: parse_update,
    render: render_update,
    freshness: Freshness::Untold,
};

/// Refuses what there is not when coordinates are switched off.
fn require_coordinates(call: &Call<'_>) -> Result<(), Refusal> {
    if call.settings.coordinates {
        return Ok(());
    }
    Err(Refusal { status: StatusCode::UNAUTHORIZED, text: "Coordinate support disabled".into() })
}

/// Makes a request of a query.
fn request(call: &Call<'_>, query: Query) -> Result<Request, Refusal> {
    require_coordinates(call)?;
    Ok(Request { options: read_options(call)?, body: Body::Query(AnyQuery::Coordinate(query)) })
}

fn parse_datacenters(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    request(call, Query::Datacenters)
}

fn parse_nodes(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    request(call, Query::Nodes)
}

fn parse_node(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    request(call, Query::Node(call.rest.to_owned()))
}

/// Reads where a node is.
fn parse_update(call: &Call<'_>, bytes: Vec<u8>) -> Result<Request, Refusal> {
    require_coordinates(call)?;
    let options = write_options(call)?;
    let (row, dimensions) = read_row(body::json(&bytes)?).map_err(body::decode_failed)?;
    if dimensions != DIMENSIONS {
        return Err(Refusal::by_server(call, "incompatible coordinate"));
    }
    Ok(Request { options, body: Body::Query(AnyQuery::Coordinate(Query::Update(row))) })
}

/// Reads a row, and how many dimensions its place has.
fn read_row(value: Value) -> Result<(Row, usize), FieldError> {
    let mut fields = Fields::of(value, "structs.CoordinateUpdateRequest")?;
    let (mut row, mut dimensions) = (Row::default(), 0);
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "node" => row.node = value.string(&key)?,
            "segment" => row.segment = value.string(&key)?,
            "coord" => (row.place, dimensions) = read_place(value, &key)?,
            "datacenter" | "token" => drop(value.string(&key)?),
            _ => return Err(FieldError::Unknown(key)),
        }
    }
    Ok((row, dimensions))
}

fn read_place(value: Value, key: &str) -> Result<(Coordinate, usize), FieldError> {
    value.require_object(key, "coordinate.Coordinate")?;
    let mut fields = Fields::of(value, "coordinate.Coordinate")?;
    let mut place = Coordinate { vec: [0.0; DIMENSIONS], error: 0.0, adjustment: 0.0, height: 0.0 };
    let mut dimensions = 0;
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "vec" => {
                let items = value.array(&key, "[]float64")?;
                dimensions = items.len();
                for (to, item) in place.vec.iter_mut().zip(items) {
                    *to = item.float(&key)?;
                }
            }
            "error" => place.error = value.float(&key)?,
            "adjustment" => place.adjustment = value.float(&key)?,
            "height" => place.height = value.float(&key)?,
            _ => return Err(FieldError::Unknown(key)),
        }
    }
    Ok((place, dimensions))
}

/// Shows places, those of a segment if one is asked for.
fn render_rows(call: &Call<'_>, rows: &[Arc<Row>]) -> Page {
    let fits =
        |row: &&Arc<Row>| !call.params.has("segment") || row.segment == call.params.get("segment");
    let rows: Vec<&Row> = rows.iter().filter(fits).map(|row| &**row).collect();
    Page::json(call, &Each::of(&rows, |row| RowView::from(*row)))
}

fn render_nodes(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Coordinate(Found::Rows(rows)) = reply else { return Page::unexpected() };
    render_rows(call, &rows)
}

/// Shows where a node is: 404 if nobody knows.
fn render_node(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Coordinate(Found::Rows(rows)) = reply else { return Page::unexpected() };
    match rows.is_empty() {
        true => Page::empty(StatusCode::NOT_FOUND),
        false => render_rows(call, &rows),
    }
}

/// The servers of a datacentre.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DatacenterView<'a> {
    datacenter: &'a str,
    #[serde(rename = "AreaID")]
    area: &'static str,
    coordinates: Each<'a, Row, fn(&'a Row) -> RowView<'a>>,
}

impl<'a> From<&'a Datacenter> for DatacenterView<'a> {
    fn from(found: &'a Datacenter) -> Self {
        let coordinates = Each::of(&found.rows, RowView::from as fn(_) -> _);
        Self { datacenter: &found.name, area: "wan", coordinates }
    }
}

fn render_datacenters(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Coordinate(Found::Datacenters(found)) = reply else { return Page::unexpected() };
    Page::json(call, &Each::of(&found, DatacenterView::from))
}

fn render_update(_: &Call<'_>, reply: Reply) -> Page {
    match reply {
        Reply::Coordinate(Found::Noted) => Page::empty(StatusCode::OK),
        _ => Page::unexpected(),
    }
}
