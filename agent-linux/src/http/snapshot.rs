//! `/v1/snapshot`: the whole state, out and in.

use super::connection::Body;
use super::options::token;
use super::reply::finish_stream;
use super::route::Call;
use crate::endpoint::Saving;
use agent_core::model::request::{Consistency, Error, Options};
use hyper::Response;

/// Reads whom to ask. Like Consul's, this endpoint looks at nothing but datacentre, token and
/// `stale`.
pub(super) fn options(call: &Call<'_>) -> Options {
    let stale = call.params.has("stale");
    Options {
        token: token(&call.params, call.headers),
        datacenter: call.params.get("dc").to_owned(),
        consistency: if stale { Consistency::Stale } else { Consistency::Default },
        ..Options::default()
    }
}

/// A failure as Consul shows it here: snapshots have a way of their own between its agents, which
/// counts no hops.
pub(super) fn plain(error: Error) -> Error {
    Error { hops: 0, ..error }
}

/// Streams an archive.
pub(super) fn stream(saving: Saving) -> Response<Body> {
    finish_stream(Body::Fragile(saving.pieces), "application/x-gzip", saving.meta)
}
