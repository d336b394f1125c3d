//! Asks the servers, or the agent's cache, and shows what they said.

use super::Http;
use super::options::cache_control;
use super::reply::{Freshness, Page, Refusal, Teller, fault, tell_cache, tell_freshness};
use super::route::{Act, Call, Intake};
use agent_core::model::request::{Consistency, Error, Reply, Request};

/// A question without a body.
pub(super) const fn read(
    parse: fn(&Call<'_>, Vec<u8>) -> Result<Request, Refusal>,
    render: fn(&Call<'_>, Reply) -> Page,
    freshness: Freshness,
) -> Act {
    Act::Ask { intake: Intake::Nothing, parse, render, freshness }
}

/// A question that is under way.
pub(super) struct Asked<'a> {
    asking: Asking<'a>,
    level: Consistency,
    render: fn(&Call<'_>, Reply) -> Page,
    freshness: Freshness,
}

/// Whom a question went to.
enum Asking<'a> {
    Servers(super::Asking<'a>),
    Cache(super::AskingCache<'a>),
}

/// Asks the servers, or the cache if the client likes.
///
/// # Errors
///
/// A refusal of what the client says about the cache.
pub(super) fn ask<'a>(
    http: &'a Http,
    call: &Call<'_>,
    request: Request,
    render: fn(&Call<'_>, Reply) -> Page,
    freshness: Freshness,
) -> Result<Asked<'a>, Refusal> {
    let level = request.options.consistency;
    let wanted = http.settings.use_cache && call.params.has("cached");
    let asking = match wanted && freshness.is_cached() {
        false => Asking::Servers(http.endpoint.serve_shared(request)),
        true => {
            let control = cache_control(call.headers)?;
            Asking::Cache(http.endpoint.serve_cached(request, control))
        }
    };
    Ok(Asked { asking, level, render, freshness })
}

impl Asked<'_> {
    /// Waits for the answer and shows it.
    pub(super) async fn shown(&mut self, call: &Call<'_>) -> Page {
        let outcome = match &mut self.asking {
            Asking::Servers(asking) => asking.await.map(|answer| (answer, None)),
            Asking::Cache(asking) => asking.await.map(|cached| (cached.answer, Some(cached.age))),
        };
        match outcome {
            Ok((answer, cached)) => {
                let mut page = (self.render)(call, answer.reply);
                if let Some(age) = cached {
                    tell_cache(&mut page, age);
                }
                tell_freshness(&mut page, self.freshness, Some((answer.meta, self.level)));
                page
            }
            Err(error) => {
                let mut page = logged(call, &error, Teller::Servers);
                tell_freshness(&mut page, self.freshness, None);
                page
            }
        }
    }
}

/// Shows a failure, and tells the log.
pub(super) fn logged(call: &Call<'_>, error: &Error, teller: Teller) -> Page {
    tracing::debug!(path = call.path, %error, "request failed");
    fault(error, teller)
}
