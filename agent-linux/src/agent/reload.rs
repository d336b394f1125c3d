//! The configuration read anew while the agent runs.

use super::{Agent, setting};
use crate::config;
use crate::{log, tls};
use std::sync::Arc;

impl Agent {
    /// Reads the configuration anew and takes over what may change while running.
    pub(super) async fn reload(&self) -> Result<(), config::Error> {
        let (config, warnings) = self.config().reload()?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let configured = setting::configured(&config);
        let configured = configured.map_err(|error| config::Error::Invalid(error.to_string()))?;
        if let Some(certificates) = &self.certificates {
            let presented = tls::server(&config.tls);
            certificates.send_replace(
                presented.map_err(|error| config::Error::Invalid(error.to_string()))?,
            );
        }
        log::set_level(config.log.level);
        if let Err(error) = self.local.reload(configured).await {
            tracing::error!("services and checks stay as they were: {error}");
        }
        self.http_connections.set(config.limits.http_max_conns_per_client);
        self.limit.set(config.limits.rpc_rate, config.limits.rpc_max_burst);
        self.local.set_node(setting::node(&config, self.node_id));
        self.config.send_replace(Arc::new(config));
        tracing::info!("configuration reloaded");
        Ok(())
    }
}
