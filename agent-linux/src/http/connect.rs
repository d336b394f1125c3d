//! The mesh's certificate authority while the mesh is off: every path says so.

use super::reply::{Freshness, Page, Refusal, tell_freshness};
use super::route::{Act, Call};

pub(super) const OFF: Act = Act::Say(off);
pub(super) const ROOTS_OFF: Act = Act::Say(roots_off);

/// Says that the mesh is off, as a server would.
fn off(call: &Call<'_>) -> Page {
    Refusal::by_server(call, "Connect must be enabled in order to use this endpoint").into()
}

/// The same for a read that may block.
fn roots_off(call: &Call<'_>) -> Page {
    let mut page = off(call);
    tell_freshness(&mut page, Freshness::Told, None);
    page
}
