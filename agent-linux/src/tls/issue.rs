//! Certificates of one's own: an authority, and what it signs. Keys are of the curve P-256.
//!
//! Written out here: a crate for it, with what it takes to read an authority's file, is 195 KiB of
//! program, and writes neither keys as Consul does nor an authority's name as it found it.
//!
//! Source: RFC 5280.

use super::der::{self, BOOLEAN, OCTET_STRING, SEQUENCE, context, holder, subject};
use agent_core::time::Civil;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::SigningKey;
use rustls::{RootCertStore, SignatureScheme};
use std::net::IpAddr;
use std::sync::Arc;

/// Seconds of a day.
const DAY: u64 = 86_400;
/// Days that a certificate may be valid: until the year 9999 there are not many more.
pub const DAYS_MAX: u64 = 2_900_000;

const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const SUBJECT_KEY_ID: &[u8] = &[0x55, 0x1d, 0x0e];
const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 0x23];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x1e];
const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];

/// A certificate and its key, both in PEM form.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The key, in the form of SEC 1.
    pub key: String,
}

/// What a certificate is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Serving first, and being a client.
    Server,
    /// Being a client first, and serving.
    Client,
    /// Not said.
    Any,
}

/// Whom a certificate is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    /// Its common name.
    pub name: String,
    /// Host names, in order.
    pub names: Vec<String>,
    /// Addresses, in order.
    pub addresses: Vec<IpAddr>,
    /// What for.
    pub purpose: Purpose,
}

/// An authority that signs: its certificate and its key.
pub struct Authority {
    certificate: CertificateDer<'static>,
    key: Arc<dyn SigningKey>,
}

/// A key that was just made.
struct Fresh {
    /// The secret number.
    secret: Vec<u8>,
    /// The point of the curve, not compressed.
    point: Vec<u8>,
    pair: EcdsaKeyPair,
}

impl Fresh {
    /// Makes a key.
    fn make(random: &SystemRandom) -> Result<Self, String> {
        let fault = |_| "cannot make a key".to_owned();
        let rules = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(rules, random).map_err(fault)?;
        let pair = EcdsaKeyPair::from_pkcs8(rules, document.as_ref(), random)
            .map_err(|error| error.to_string())?;
        let secret =
            secret_of(document.as_ref()).ok_or("the key is in a form that is not known")?;
        Ok(Self { secret: secret.to_vec(), point: pair.public_key().as_ref().to_vec(), pair })
    }

    /// The public key as certificates have it.
    fn public(&self) -> Vec<u8> {
        let algorithm = der::list(SEQUENCE, &[der::oid(EC_PUBLIC_KEY), der::oid(P256)]);
        der::list(SEQUENCE, &[algorithm, der::bits(&self.point)])
    }

    /// The key as a file (SEC 1, appendix C.4).
    fn file(&self) -> String {
        let body = der::list(
            SEQUENCE,
            &[
                der::integer(&[1]),
                der::value(OCTET_STRING, &self.secret),
                der::value(holder(0), &der::oid(P256)),
                der::value(holder(1), &der::bits(&self.point)),
            ],
        );
        pem("EC PRIVATE KEY", &body)
    }
}

/// Finds the secret number in what ring makes (RFC 5208 round RFC 5915).
fn secret_of(document: &[u8]) -> Option<&[u8]> {
    let body = der::inside(SEQUENCE, document)?;
    let (_, key, _) = der::values(body).find(|(tag, ..)| *tag == OCTET_STRING)?;
    let (_, secret, _) =
        der::values(der::inside(SEQUENCE, key)?).find(|(tag, ..)| *tag == OCTET_STRING)?;
    Some(secret)
}

/// Makes an authority that is valid for `days` from `now`, in seconds since 1970. With names, it
/// may sign for those and what is below them only.
///
/// # Errors
///
/// Words for names that no certificate can have, times out of bounds, or a system without luck.
pub fn authority(now: u64, days: u64, permitted: &[String]) -> Result<Issued, String> {
    let random = SystemRandom::new();
    let (fresh, serial) = (Fresh::make(&random)?, serial(&random)?);
    let name = der::common_name(&format!("Consul Agent CA {}", u128::from_be_bytes(serial)));
    let public = fresh.public();
    let id = key_id(&public);
    let mut extensions = vec![
        // Signatures, certificates, lists of those that were revoked.
        extension(KEY_USAGE, true, &der::value(der::BIT_STRING, &[1, 0b1000_0110])),
        extension(BASIC_CONSTRAINTS, true, &der::list(SEQUENCE, &[der::value(BOOLEAN, &[0xff])])),
        subject_key_id(&id),
        authority_key_id(&id),
    ];
    if !permitted.is_empty() {
        let subtree = |name: &String| Ok(der::list(SEQUENCE, &[host_name(name)?]));
        let subtrees = permitted.iter().map(subtree).collect::<Result<Vec<_>, String>>()?;
        let constraints = der::list(SEQUENCE, &[der::list(holder(0), &subtrees)]);
        extensions.push(extension(NAME_CONSTRAINTS, true, &constraints));
    }
    let body = body(&serial, &name, &validity(now, days)?, &name, public, &extensions);
    let fault = |_| "cannot sign".to_owned();
    let signature = fresh.pair.sign(&random, &body).map_err(fault)?;
    Ok(Issued { certificate: signed(body, signature.as_ref()), key: fresh.file() })
}

impl Authority {
    /// Reads an authority's certificate and key, in PEM form.
    ///
    /// # Errors
    ///
    /// Words for what is none, or a key that is not of the curve P-256.
    pub fn read(certificate: &[u8], key: &[u8]) -> Result<Self, String> {
        let certificate = CertificateDer::from_pem_slice(certificate)
            .map_err(|error| format!("the CA: {error}"))?;
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("the CA key: {error}"))?;
        let key = rustls::crypto::ring::sign::any_ecdsa_type(&key)
            .map_err(|error| format!("the CA key: {error}"))?;
        Ok(Self { certificate, key })
    }

    /// Signs a certificate that is valid for `days` from `now`, in seconds since 1970, and sees
    /// whether it will be believed.
    ///
    /// # Errors
    ///
    /// Words for names that no certificate can have, times out of bounds, a key that is not the
    /// authority's, names that it may not sign for, or its being out of date.
    pub fn sign(&self, now: u64, days: u64, holder: &Holder) -> Result<Issued, String> {
        let random = SystemRandom::new();
        let (fresh, serial) = (Fresh::make(&random)?, serial(&random)?);
        let authority = subject(&self.certificate).ok_or("the CA is no certificate")?;
        let scheme = [SignatureScheme::ECDSA_NISTP256_SHA256];
        let signer = self.key.choose_scheme(&scheme).ok_or("the CA key is not of curve P-256")?;
        let public = fresh.public();
        let mut extensions = vec![
            // Signatures, keys.
            extension(KEY_USAGE, true, &der::value(der::BIT_STRING, &[5, 0b1010_0000])),
        ];
        let purposes: &[&[u8]] = match holder.purpose {
            Purpose::Server => &[SERVER_AUTH, CLIENT_AUTH],
            Purpose::Client => &[CLIENT_AUTH, SERVER_AUTH],
            Purpose::Any => &[],
        };
        if !purposes.is_empty() {
            let purposes: Vec<_> = purposes.iter().map(|purpose| der::oid(purpose)).collect();
            extensions.push(extension(EXTENDED_KEY_USAGE, false, &der::list(SEQUENCE, &purposes)));
        }
        extensions.push(extension(BASIC_CONSTRAINTS, true, &der::list(SEQUENCE, &[])));
        extensions.push(subject_key_id(&key_id(&public)));
        extensions.extend(authority.key_id.map(authority_key_id));
        let names = holder.names.iter().map(|name| host_name(name));
        let mut alternatives = names.collect::<Result<Vec<_>, String>>()?;
        alternatives.extend(holder.addresses.iter().map(|address| match address {
            IpAddr::V4(address) => der::value(context(7), &address.octets()),
            IpAddr::V6(address) => der::value(context(7), &address.octets()),
        }));
        extensions.push(extension(ALTERNATIVE_NAMES, false, &der::list(SEQUENCE, &alternatives)));
        let name = der::common_name(&holder.name);
        let validity = validity(now, days)?;
        let body = body(&serial, authority.name, &validity, &name, public, &extensions);
        let signature = signer.sign(&body).map_err(|error| error.to_string())?;
        let certificate = signed(body, &signature);
        self.verify(now, &certificate, &holder.name)?;
        Ok(Issued { certificate, key: fresh.file() })
    }

    /// Sees whether a certificate will be believed by who believes the authority.
    fn verify(&self, now: u64, certificate: &str, name: &str) -> Result<(), String> {
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes());
        let certificate = certificate.map_err(|error| error.to_string())?;
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).map_err(|error| format!("the CA: {error}"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = verifier.build().map_err(|error| error.to_string())?;
        let name = ServerName::try_from(name).map_err(|error| format!("{name}: {error}"))?;
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
        let believed = verifier.verify_server_cert(&certificate, &[], &name, &[], now);
        believed.map(|_| ()).map_err(|error| error.to_string())
    }
}

/// Draws a serial number.
fn serial(random: &SystemRandom) -> Result<[u8; 16], String> {
    let mut serial = [0; 16];
    random.fill(&mut serial).map_err(|_| "cannot draw a serial number".to_owned())?;
    Ok(serial)
}

/// Names a public key, as Consul does.
fn key_id(public: &[u8]) -> Vec<u8> {
    digest(&SHA256, public).as_ref().to_vec()
}

fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { der::value(BOOLEAN, &[0xff]) } else { Vec::new() };
    der::list(SEQUENCE, &[der::oid(id), critical, der::value(OCTET_STRING, value)])
}

fn subject_key_id(id: &[u8]) -> Vec<u8> {
    extension(SUBJECT_KEY_ID, false, &der::value(OCTET_STRING, id))
}

fn authority_key_id(id: &[u8]) -> Vec<u8> {
    let body = der::list(SEQUENCE, &[der::value(context(0), id)]);
    extension(AUTHORITY_KEY_ID, false, &body)
}

/// Writes a host name as certificates have it.
fn host_name(name: &str) -> Result<Vec<u8>, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._*".contains(c);
    match !name.is_empty() && name.chars().all(fits) {
        true => Ok(der::value(context(2), name.as_bytes())),
        false => Err(format!("{name:?} is no host name")),
    }
}

/// Writes from when to when.
fn validity(now: u64, days: u64) -> Result<Vec<u8>, String> {
    if !(1..=DAYS_MAX).contains(&days) {
        return Err(format!("a certificate is valid for 1 to {DAYS_MAX} days, not {days}"));
    }
    Ok(der::list(SEQUENCE, &[moment(now), moment(now + days * DAY)]))
}

/// Writes a moment: with a year of two digits up to 2049, as RFC 5280 wants it.
fn moment(secs: u64) -> Vec<u8> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let Civil { year, month, day, hour, minute, second } = Civil::of(secs);
    let rest = format!("{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
    match year {
        ..2050 => der::value(UTC_TIME, format!("{:02}{rest}", year % 100).as_bytes()),
        _ => der::value(GENERALIZED_TIME, format!("{year:04}{rest}").as_bytes()),
    }
}

/// Writes what is signed.
fn body(
    serial: &[u8],
    issuer: &[u8],
    validity: &[u8],
    subject: &[u8],
    public: Vec<u8>,
    extensions: &[Vec<u8>],
) -> Vec<u8> {
    der::list(
        SEQUENCE,
        &[
            // Version 3.
            der::value(holder(0), &der::integer(&[2])),
            der::integer(serial),
            der::list(SEQUENCE, &[der::oid(ECDSA_SHA256)]),
            issuer.to_vec(),
            validity.to_vec(),
            subject.to_vec(),
            public,
            der::value(holder(3), &der::list(SEQUENCE, extensions)),
        ],
    )
}

/// Puts a signature to what was signed.
fn signed(body: Vec<u8>, signature: &[u8]) -> String {
    let algorithm = der::list(SEQUENCE, &[der::oid(ECDSA_SHA256)]);
    pem("CERTIFICATE", &der::list(SEQUENCE, &[body, algorithm, der::bits(signature)]))
}

/// Writes bytes in PEM form (RFC 7468).
fn pem(label: &str, bytes: &[u8]) -> String {
    let text = BASE64.encode(bytes);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        out.push('\n');
    }
    out + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_337_314;

    fn holder_of(name: &str, purpose: Purpose) -> Holder {
        let names = vec![name.to_owned(), "localhost".to_owned()];
        let addresses = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        Holder { name: name.to_owned(), names, addresses, purpose }
    }

    fn read(issued: &Issued) -> Authority {
        Authority::read(issued.certificate.as_bytes(), issued.key.as_bytes()).unwrap()
    }

    #[test]
    fn what_an_authority_signs_is_believed() {
        let own = read(&authority(NOW, 10, &[]).unwrap());
        for purpose in [Purpose::Server, Purpose::Client, Purpose::Any] {
            let issued = own.sign(NOW, 1, &holder_of("server.dc1.consul", purpose)).unwrap();
            let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
            assert!(rustls::crypto::ring::sign::any_ecdsa_type(&key).is_ok());
            let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes());
            let certificate = certificate.unwrap();
            let found = subject(&certificate).unwrap();
            assert_eq!(found.name, der::common_name("server.dc1.consul"));
            assert_eq!(found.key_id, Some(&*key_id(found.key)));
        }
    }

    #[test]
    fn what_would_not_be_believed_is_not_signed() {
        let issued = authority(NOW, 10, &["foo".into(), "localhost".into()]).unwrap();
        let own = read(&issued);
        let server = |name| holder_of(name, Purpose::Server);
        assert!(own.sign(NOW, 1, &server("server.dc1.foo")).is_ok());
        assert!(own.sign(NOW, 1, &server("server.dc1.bar")).is_err());
        let other = authority(NOW, 10, &[]).unwrap();
        let mixed = Authority::read(issued.certificate.as_bytes(), other.key.as_bytes()).unwrap();
        assert!(mixed.sign(NOW, 1, &server("server.dc1.foo")).is_err());
        for days in [0, DAYS_MAX + 1, u64::MAX] {
            let error = own.sign(NOW, days, &server("server.dc1.foo")).err().unwrap();
            assert!(error.contains("valid for 1 to"), "{error}");
        }
        let error = own.sign(NOW, 1, &server("a b")).err().unwrap();
        assert_eq!(error, "\"a b\" is no host name");
        assert!(authority(NOW, 1, &["\u{e4}".into()]).is_err());
        assert!(Authority::read(b"x", issued.key.as_bytes()).is_err());
        assert!(Authority::read(issued.certificate.as_bytes(), b"x").is_err());
    }

    #[test]
    fn moments_after_2049_have_four_digits() {
        assert_eq!(moment(NOW), der::value(0x17, b"261122084834Z"));
        assert_eq!(moment(4_107_542_399), der::value(0x18, b"21000228235959Z"));
    }
}
