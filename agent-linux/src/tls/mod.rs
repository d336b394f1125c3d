//! TLS: certificates from files, and what clients and listeners make of them.
//!
//! - this file: PEM files read, with faults that name the file
//! - `client`: whose certificates a client believes, and its own     `own`: those of checks
//! - `issue`: certificates of one's own                 `der`: how they are written
//! - `server`: what a listener presents, and whose certificates it wants to see

mod client;
pub mod der;
pub mod issue;
mod own;
mod server;

pub use client::{Trust, Verify, client, client_with};
pub use own::Own;
pub use server::{Offer, server};

use crate::config::os_text;
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::path::{Path, PathBuf};

/// Bytes of a PEM file: more than the authorities of a whole system have.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Files of a directory of authorities.
const FILES_MAX: usize = 4096;

/// Why TLS could not be set up.
#[derive(Debug)]
pub enum Error {
    /// A certificate and its key are no good.
    Pair(String),
    /// The authorities are no good.
    Authorities(String),
    /// Everything else.
    Settings(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pair(why) => write!(f, "Failed to load cert/key pair: {why}"),
            Self::Authorities(why) => write!(f, "Failed to load CA certificates: {why}"),
            Self::Settings(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {}

/// A certificate, what leads to its authority, and its key.
pub(crate) type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Reads a certificate and its key.
///
/// # Errors
///
/// [`Error::Pair`] naming the file.
pub(crate) fn pair(cert_file: &Path, key_file: &Path) -> Result<Pair, Error> {
    let certificates = certificates(cert_file).map_err(Error::Pair)?;
    let key = PrivateKeyDer::from_pem_slice(&read(key_file).map_err(Error::Pair)?);
    let key = key.map_err(|error| Error::Pair(fault(key_file, "private key", &error)))?;
    Ok((certificates, key))
}

/// Reads the authorities of a file or else of all files of a directory.
///
/// # Errors
///
/// [`Error::Authorities`] naming the file.
pub(crate) fn authorities(
    file: Option<&Path>,
    folder: Option<&Path>,
) -> Result<RootCertStore, Error> {
    let files = match (file, folder) {
        (Some(file), _) => vec![file.to_owned()],
        (None, Some(folder)) => files(folder).map_err(Error::Authorities)?,
        (None, None) => Vec::new(),
    };
    let mut roots = RootCertStore::empty();
    for file in &files {
        for certificate in certificates(file).map_err(Error::Authorities)? {
            let fault = |error| Error::Authorities(format!("{}: {error}", file.display()));
            roots.add(certificate).map_err(fault)?;
        }
    }
    Ok(roots)
}

/// Lists the files of a directory by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let fault = |error| format!("open {}: {}", folder.display(), os_text(&error));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        // Kubernetes and others keep hidden folders with versions beside the files.
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.is_file() && !hidden {
            files.push(path);
        }
        if files.len() > FILES_MAX {
            return Err(format!("{}: more than {FILES_MAX} files", folder.display()));
        }
    }
    if files.is_empty() {
        return Err(format!("{}: no files", folder.display()));
    }
    files.sort();
    Ok(files)
}

/// Reads the certificates of a file, at least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(fault(file, "certificate", &pem::Error::NoItemsFound)),
        Ok(found) => Ok(found),
        Err(error) => Err(fault(file, "certificate", &error)),
    }
}

/// Reads a file that should be small.
fn read(file: &Path) -> Result<Vec<u8>, String> {
    let fault = |error| format!("open {}: {}", file.display(), os_text(&error));
    let bytes = std::fs::metadata(file).map_err(fault)?.len();
    if bytes > FILE_BYTES_MAX {
        let file = file.display();
        return Err(format!("{file}: {bytes} bytes are too much for a PEM file"));
    }
    std::fs::read(file).map_err(fault)
}

/// Says what is wrong with a PEM file.
fn fault(file: &Path, what: &str, error: &pem::Error) -> String {
    let file = file.display();
    match error {
        pem::Error::NoItemsFound => format!("{file}: no {what} in PEM form found"),
        other => format!("{file}: {other}"),
    }
}
