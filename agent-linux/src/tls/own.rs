//! How this agent's checks speak TLS: with its own certificate, and whom it believes
//! (`enable_agent_tls_for_checks`).

use super::{Error, Trust, Verify, client_with};
use crate::config;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::fmt;
use std::sync::Arc;

/// The agent's own way to speak TLS. Copies are the same way.
#[derive(Clone)]
pub struct Own(Arc<Ways>);

struct Ways {
    name: ServerName<'static>,
    doubting: Arc<ClientConfig>,
    trusting: Arc<ClientConfig>,
}

impl Own {
    /// Reads the agent's files. Whoever is spoken to must have a certificate for `name`.
    ///
    /// # Errors
    ///
    /// [`Error`] naming the file, or a name that no certificate has.
    pub fn new(files: &config::Tls, name: &str) -> Result<Self, Error> {
        let fault =
            |error| Error::Settings(format!("{name:?} is no name of a certificate: {error}"));
        let server = ServerName::try_from(name.to_owned()).map_err(fault)?;
        let pair = files.cert_file.as_deref().zip(files.key_file.as_deref());
        let way = |verify| {
            let trust =
                Trust::read((files.ca_file.as_deref(), files.ca_path.as_deref()), pair, verify)?;
            client_with(trust)
        };
        let (doubting, trusting) = (way(Verify::System)?, way(Verify::Nothing)?);
        Ok(Self(Arc::new(Ways { name: server, doubting, trusting })))
    }

    /// Tells the name to expect, and how to speak.
    pub(crate) fn way(&self, verify: Verify) -> (ServerName<'static>, Arc<ClientConfig>) {
        let config = match verify {
            Verify::System => &self.0.doubting,
            Verify::Nothing => &self.0.trusting,
        };
        (self.0.name.clone(), Arc::clone(config))
    }
}

impl PartialEq for Own {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Own {}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Own").field(&self.0.name).finish()
    }
}
