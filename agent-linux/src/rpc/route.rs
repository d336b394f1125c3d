//! Which server a request goes to next.
use agent_core::model::request::{Error, Kind};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// How requests are routed.
#[derive(Clone, Debug, Default)]
pub struct Settings {}

/// Known servers and the connections to them.
pub struct Router(Mutex<Vec<SocketAddr>>);

impl Router {
    /// Starts without servers.
    pub fn new(_datacenter: String, _settings: Settings) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Vec::new())))
    }
    /// Replaces the known servers.
    pub fn set_servers(&self, servers: Vec<SocketAddr>) {
        *self.0.lock().expect("no holder panics") = servers;
    }
    /// Tells the known servers.
    pub fn servers(&self) -> Vec<SocketAddr> {
        self.0.lock().expect("no holder panics").clone()
    }
    /// Sends an encoded request to any server.
    pub async fn forward_any(&self, _bytes: &[u8], _deadline: Instant) -> Result<Vec<u8>, Error> {
        Err(Error::new(Kind::NoServers))
    }
    /// Sends an encoded request to one server.
    pub async fn forward_to(
        &self,
        _server: SocketAddr,
        _bytes: &[u8],
        _deadline: Instant,
    ) -> Result<Vec<u8>, Error> {
        Err(Error::new(Kind::NoServers))
    }
}
