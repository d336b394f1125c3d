//! TLS as a client speaks it: whose certificates are believed.

use super::Pair;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Which certificates are believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verify {
    /// Those that the host's authorities signed.
    System,
    /// Any (`tls_skip_verify`).
    Nothing,
}

/// Tells how to speak TLS. Made at first use: the host's authorities take some 300 KB.
pub fn client(verify: Verify) -> Arc<ClientConfig> {
    static SYSTEM: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    static NOTHING: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let cell = match verify {
        Verify::System => &SYSTEM,
        Verify::Nothing => &NOTHING,
    };
    let build = || {
        let trust = Trust { anybody: verify == Verify::Nothing, ..Trust::default() };
        client_with(trust).expect("without a certificate of its own nothing can be wrong")
    };
    Arc::clone(cell.get_or_init(build))
}

/// Whom a client believes, and as whom it comes.
#[derive(Debug, Default)]
pub struct Trust {
    /// Authorities believed in place of the host's, if there are any.
    pub authorities: Option<RootCertStore>,
    /// Whether any certificate is believed.
    pub anybody: bool,
    /// Own certificate and key.
    pub pair: Option<Pair>,
}

impl Trust {
    /// Reads the files that a user named.
    ///
    /// # Errors
    ///
    /// [`Error`](super::Error) naming the file.
    pub fn read(
        (ca_file, ca_path): (Option<&Path>, Option<&Path>),
        pair: Option<(&Path, &Path)>,
        verify: Verify,
    ) -> Result<Self, super::Error> {
        let authorities = match (ca_file, ca_path) {
            (None, None) => None,
            (file, folder) => Some(super::authorities(file, folder)?),
        };
        let pair = pair.map(|(cert, key)| super::pair(cert, key)).transpose()?;
        Ok(Self { authorities, anybody: verify == Verify::Nothing, pair })
    }
}

/// Tells how to speak TLS with files of one's own.
///
/// # Errors
///
/// [`Error::Pair`](super::Error::Pair) if certificate and key do not fit.
pub fn client_with(trust: Trust) -> Result<Arc<ClientConfig>, super::Error> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(Arc::<CryptoProvider>::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.2 and 1.3");
    let builder = if trust.anybody {
        let any = Arc::new(AnyCertificate(algorithms));
        builder.dangerous().with_custom_certificate_verifier(any)
    } else {
        builder.with_root_certificates(trust.authorities.unwrap_or_else(host_authorities))
    };
    let config = match trust.pair {
        Some((certificates, key)) => builder
            .with_client_auth_cert(certificates, key)
            .map_err(|error| super::Error::Pair(error.to_string()))?,
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// Reads the host's authorities.
fn host_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a certificate of the host cannot be read");
    }
    roots.add_parsable_certificates(found.certs);
    roots
}

/// Believes any certificate, but not a handshake that its key did not sign.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
