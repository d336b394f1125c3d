//! From what was written to the TLS of the HTTP edge. RPC and gossip do not speak TLS in this
//! build, so what promises it for them is refused.

use std::path::PathBuf;

use super::layer::Error;
use super::reader::Reader;
use super::runtime::{Tls, TlsVersion};

/// Reads the settings; the files are opened when a listener needs them.
pub(super) fn tls(r: &Reader<'_>, server: bool, warnings: &mut Vec<String>) -> Result<Tls, Error> {
    let path = |key| r.some_text(key).map(PathBuf::from);
    let everything = r.bool("verify_incoming", false);
    if everything && server {
        let what = "not supported by this build for RPC, which a server listens on; the agent \
                    will not run with less protection than configured. `verify_incoming_https` \
                    protects the HTTP API alone";
        return Err(r.fault("verify_incoming", what));
    }
    let tls = Tls {
        cert_file: path("cert_file"),
        key_file: path("key_file"),
        ca_file: path("ca_file"),
        ca_path: path("ca_path"),
        min_version: version(r, warnings)?,
        cipher_suites: suites(r)?,
        prefer_server_cipher_suites: r.bool("tls_prefer_server_cipher_suites", false),
        verify_incoming: r.bool("verify_incoming_https", everything),
        for_checks: r.bool("enable_agent_tls_for_checks", false),
        server_name: r.some_text("server_name").map(str::to_owned),
    };
    verify(r, &tls)?;
    if server && tls.cert_file.is_some() {
        warnings.push(
            "cert_file: used for HTTPS only; RPC between agents is not encrypted by this build"
                .to_owned(),
        );
    }
    Ok(tls)
}

/// Checks that what was asked for can be done.
fn verify(r: &Reader<'_>, tls: &Tls) -> Result<(), Error> {
    if tls.cert_file.is_some() != tls.key_file.is_some() {
        let (key, other) = match tls.cert_file {
            Some(_) => ("cert_file", "key_file"),
            None => ("key_file", "cert_file"),
        };
        return Err(r.fault(key, format!("is of no use without {other}")));
    }
    if tls.verify_incoming && tls.ca_file.is_none() && tls.ca_path.is_none() {
        let text = "VerifyIncoming set but no CA certificates were provided";
        return Err(Error::Invalid(text.to_owned()));
    }
    if tls.verify_incoming && tls.cert_file.is_none() {
        let text = "VerifyIncoming requires a Cert and Key pair in the configuration file";
        return Err(Error::Invalid(text.to_owned()));
    }
    if r.port("ports.https", None)?.is_some() && tls.cert_file.is_none() {
        return Err(r.fault("ports.https", "needs cert_file and key_file"));
    }
    Ok(())
}

/// Reads the oldest version; those before 1.2 are broken and not spoken at all.
fn version(r: &Reader<'_>, warnings: &mut Vec<String>) -> Result<TlsVersion, Error> {
    let key = "tls_min_version";
    match r.some_text(key).unwrap_or("tls12") {
        "tls12" => Ok(TlsVersion::Tls12),
        "tls13" => Ok(TlsVersion::Tls13),
        old @ ("tls10" | "tls11") => {
            warnings.push(format!("{key}: {old} is not spoken by this build, tls12 is the oldest"));
            Ok(TlsVersion::Tls12)
        }
        other => Err(Error::Invalid(format!(
            "TLSMinVersion: value {other} not supported, please specify one of [tls10, tls11, \
             tls12, tls13]"
        ))),
    }
}

/// Names of the cipher suites of TLS 1.2 that Consul 1.8 knows.
#[rustfmt::skip]
const SUITES: &[&str] = &[
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
];

/// Reads the cipher suites; those that this build does not speak are merely never chosen.
fn suites(r: &Reader<'_>) -> Result<Vec<String>, Error> {
    let key = "tls_cipher_suites";
    let names = r.some_text(key).map(|text| text.split(',').map(|name| name.trim().to_owned()));
    let names: Vec<String> = names.into_iter().flatten().collect();
    match names.iter().find(|name| !SUITES.contains(&name.as_str())) {
        Some(name) => {
            let what = format!("invalid tls cipher suites: unsupported cipher \"{name}\"");
            Err(r.fault(key, what))
        }
        None => Ok(names),
    }
}
