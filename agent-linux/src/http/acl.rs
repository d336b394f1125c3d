//! `/v1/acl/` while access control is off: every path says so.

use super::reply::Page;
use super::route::{Act, Call};
use hyper::{Method, StatusCode};

pub(super) const DISABLED: Act = Act::Say(disabled);

/// Read, write and removal of one object.
pub(super) const ROW: &[(Method, Act)] =
    &[(Method::GET, DISABLED), (Method::PUT, DISABLED), (Method::DELETE, DISABLED)];

/// Says that access control is off.
fn disabled(_: &Call<'_>) -> Page {
    Page::text(StatusCode::UNAUTHORIZED, "ACL support disabled")
}
