//! One listener for requests and for raft.
use crate::raft::Raft;
use std::future::Future;
use tokio::net::TcpListener;

/// What answers requests: the endpoint.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Answers an encoded request with an encoded outcome.
    fn serve(self, bytes: Vec<u8>) -> impl Future<Output = Vec<u8>> + Send + 'static;
}

/// Bounds of the listener.
#[derive(Clone, Debug, Default)]
pub struct Limits {}

/// Serves until cancelled.
pub async fn serve<H: Handler>(
    _listener: TcpListener,
    _handler: H,
    _raft: Option<Raft>,
    _limits: Limits,
) {
    std::future::pending().await
}
