//! What RPC asks of an endpoint: encoded requests of agents, requests and terms of devices.

use super::Endpoint;
use crate::rpc::device::Terms;
use crate::rpc::server::Handler;
use agent_core::model::request::{Outcome, Request};
use std::time::Duration;

/// Time until a device is to tell everything again, in a pool of up to so many nodes.
const DEVICE_SYNC_TIME: Duration = Duration::from_secs(60);
const DEVICE_SYNC_NODES: usize = 128;

impl Handler for Endpoint {
    async fn serve(self, bytes: Vec<u8>) -> Vec<u8> {
        self.serve_bytes(&bytes).await
    }

    async fn ask(self, request: Request) -> Outcome {
        Self::serve(&self, request).await
    }

    fn terms(&self) -> Option<Terms> {
        let server = self.0.server.as_ref()?;
        let nodes = server.store.tables().node_count();
        // As agents do: one period more for each doubling of the pool over 128 nodes.
        let doublings = nodes.div_ceil(DEVICE_SYNC_NODES).max(1).next_power_of_two().ilog2();
        let sync = DEVICE_SYNC_TIME * (doublings + 1);
        Some(Terms { datacenter: self.0.datacenter.clone(), sync })
    }
}
