//! TLS as a listener speaks it.

use super::{Error, authorities, pair};
use crate::config::{Tls, TlsVersion};
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};
use std::sync::Arc;
use tokio::sync::watch;

/// What a listener presents to whoever connects next; a reload changes it.
pub type Offer = watch::Receiver<Arc<ServerConfig>>;

/// Reads the files and makes of them what a listener of HTTPS presents.
///
/// # Errors
///
/// [`Error`] naming the file that is no good.
pub fn server(tls: &Tls) -> Result<Arc<ServerConfig>, Error> {
    let (Some(cert_file), Some(key_file)) = (&tls.cert_file, &tls.key_file) else {
        return Err(Error::Settings("HTTPS needs cert_file and key_file".to_owned()));
    };
    let (certificates, key) = pair(cert_file, key_file)?;
    let provider = Arc::new(provider(&tls.cipher_suites));
    let versions: &[&SupportedProtocolVersion] = match tls.min_version {
        TlsVersion::Tls12 => &[&TLS12, &TLS13],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let settings = |error: rustls::Error| Error::Settings(format!("TLS: {error}"));
    let builder = ServerConfig::builder_with_provider(Arc::<CryptoProvider>::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(settings)?;
    let builder = if tls.verify_incoming {
        let roots = authorities(tls.ca_file.as_deref(), tls.ca_path.as_deref())?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = verifier.build().map_err(|e| Error::Authorities(e.to_string()))?;
        builder.with_client_cert_verifier(verifier)
    } else {
        // Read all the same, so that a wrong path is heard of before it matters.
        authorities(tls.ca_file.as_deref(), tls.ca_path.as_deref())?;
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(certificates, key).map_err(|error| {
        let files = format!("{} and {}", cert_file.display(), key_file.display());
        Error::Pair(match error {
            rustls::Error::InconsistentKeys(_) => {
                format!("{files}: private key does not match public key")
            }
            other => format!("{files}: {other}"),
        })
    })?;
    config.ignore_client_order = tls.prefer_server_cipher_suites;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Leaves the suites of TLS 1.2 that were asked for; those of 1.3 are always on, as in Go.
fn provider(names: &[String]) -> CryptoProvider {
    let mut provider = ring::default_provider();
    let wanted = |suite: &SupportedCipherSuite| match suite {
        SupportedCipherSuite::Tls13(_) => true,
        SupportedCipherSuite::Tls12(suite) => {
            names.iter().any(|name| name == name_of(suite.common.suite))
        }
    };
    if !names.is_empty() {
        provider.cipher_suites.retain(wanted);
    }
    provider
}

/// Names a suite as Consul does.
fn name_of(suite: CipherSuite) -> &'static str {
    let name = suite.as_str().unwrap_or_default();
    // The hash was not part of the name when Go first knew them.
    match name.strip_suffix("_SHA256") {
        Some(short) if short.ends_with("CHACHA20_POLY1305") => short,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_suites_asked_for_are_spoken() {
        let names = |wanted: &[&str]| -> Vec<&str> {
            let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
            let suites = provider(&wanted).cipher_suites;
            suites.iter().map(|suite| name_of(suite.suite())).collect()
        };
        assert_eq!(names(&[]).len(), 9);
        let some = ["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_RSA_WITH_RC4_128_SHA"];
        assert_eq!(names(&some)[3..], some[..1]);
    }
}
