//! Asks the servers, or the agent's cache, and shows what they said.

use super::Http;
use super::options::cache_control;
use super::reply::{Freshness, Page, Refusal, Teller, fault, tell_cache, tell_freshness};
use super::route::{Act, Call, Intake};
use agent_core::model::request::{Error, Reply, Request};

/// A question without a body.
pub(super) const fn read(
    parse: fn(&Call<'_>, Vec<u8>) -> Result<Request, Refusal>,
    render: fn(&Call<'_>, Reply) -> Page,
    freshness: Freshness,
) -> Act {
    Act::Ask { intake: Intake::Nothing, parse, render, freshness }
}

/// Asks the servers, or the cache if the client likes, and shows what was answered.
pub(super) async fn asked(
    http: &Http,
    call: &Call<'_>,
    request: Request,
    render: fn(&Call<'_>, Reply) -> Page,
    freshness: Freshness,
) -> Page {
    let level = request.options.consistency;
    let wanted = http.settings.use_cache && call.params.has("cached");
    let control = match wanted && freshness.is_cached() {
        true => Some(cache_control(call.headers)),
        false => None,
    };
    let outcome = match control {
        None => http.endpoint.serve_shared(request).await.map(|answer| (answer, None)),
        Some(Err(refusal)) => return refusal.into(),
        Some(Ok(control)) => {
            let cached = http.endpoint.serve_cached(request, control).await;
            cached.map(|cached| (cached.answer, Some(cached.age)))
        }
    };
    match outcome {
        Ok((answer, cached)) => {
            let mut page = render(call, answer.reply);
            if let Some(age) = cached {
                tell_cache(&mut page, age);
            }
            tell_freshness(&mut page, freshness, Some((answer.meta, level)));
            page
        }
        Err(error) => {
            let mut page = logged(call, &error, Teller::Servers);
            tell_freshness(&mut page, freshness, None);
            page
        }
    }
}

/// Shows a failure, and tells the log.
pub(super) fn logged(call: &Call<'_>, error: &Error, teller: Teller) -> Page {
    tracing::debug!(path = call.path, %error, "request failed");
    fault(error, teller)
}
