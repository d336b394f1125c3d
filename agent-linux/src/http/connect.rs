//! The mesh's certificate authority while the mesh is off: every path says so.

use super::reply::{Page, Refusal};
use super::route::{Act, Call};

pub(super) const OFF: Act = Act::Say(off);

/// Says that the mesh is off, as a server would.
fn off(call: &Call<'_>) -> Page {
    Refusal::by_server(call, "Connect must be enabled in order to use this endpoint").into()
}
