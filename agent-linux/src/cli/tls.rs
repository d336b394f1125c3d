//! `tls`: an authority of one's own, and certificates that it signs.

use super::flag::{count, switch, text, texts};
use super::{Api, Call, Failure, Spec, Verb, failure};
use crate::config::os_text;
use crate::tls::issue::{self, Authority, Holder, Issued, Purpose};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) const HELP: &str = "Usage: reeve tls <subcommand> <subcommand> [options]

  Makes a certificate authority of your own, and certificates that it signs.

      $ reeve tls ca create
      $ reeve tls cert create -server
      $ reeve tls cert create -client
";

pub(super) const CA_HELP: &str = "Usage: reeve tls ca <subcommand> [options]

  Makes a certificate authority of your own.

      $ reeve tls ca create
";

pub(super) const CERT_HELP: &str = "Usage: reeve tls cert <subcommand> [options]

  Makes certificates that your own authority signs.

      $ reeve tls cert create -server
";

/// Makes an authority.
pub(super) struct CreateAuthority;
/// Makes a certificate.
pub(super) struct CreateCertificate;

/// Days that an authority is valid unless told: five years.
const AUTHORITY_DAYS: u64 = 1825;
/// Days that a certificate is valid unless told.
const CERTIFICATE_DAYS: u64 = 365;
/// Bytes of a PEM file with one certificate or key.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Certificates of one kind in one folder.
const CERTIFICATES_MAX: u32 = 100_000;

const AUTHORITY: Spec = Spec {
    path: "tls ca create",
    summary: "Create a new consul CA",
    help: " [options]

  Makes a certificate authority: its certificate, which agents are told by
  `ca_file`, and its key, which only `tls cert create` needs. Keep the key safe.

      $ reeve tls ca create
      ==> Saved consul-agent-ca.pem
      ==> Saved consul-agent-ca-key.pem
",
    api: Api::None,
    flags: &[
        texts(
            "additional-name-constraint",
            "Name that the CA may sign for too, with -name-constraint. May be repeated.",
        ),
        count("days", "Days that the CA is valid for from now on. Default: 1825."),
        text("domain", "Domain of the cluster. Default: consul."),
        switch(
            "name-constraint",
            "Lets the CA sign for localhost, the domain and the additional names only. This \
             cannot be changed later.",
        ),
    ],
};

const CERTIFICATE: Spec = Spec {
    path: "tls cert create",
    summary: "Create a new certificate",
    help: " [options]

  Makes a certificate and its key, signed by your own authority. Files that are
  there already are left alone: the next number is taken.

      $ reeve tls cert create -server
      ==> WARNING: Server Certificates grants authority to become a
          server and access all state in the cluster including root keys
          and all ACL tokens. Do not distribute them to production hosts
          that are not server nodes. Store them as securely as CA keys.
      ==> Using consul-agent-ca.pem and consul-agent-ca-key.pem
      ==> Saved dc1-server-consul-0.pem
      ==> Saved dc1-server-consul-0-key.pem
",
    api: Api::None,
    flags: &[
        texts("additional-dnsname", "Host name to add to localhost. May be repeated."),
        texts("additional-ipaddress", "Address to add to 127.0.0.1. May be repeated."),
        text("ca", "File of the CA. Default: #DOMAIN#-agent-ca.pem."),
        switch("cli", "Makes a certificate for the command line."),
        switch("client", "Makes a certificate for a client agent."),
        count("days", "Days that the certificate is valid for from now on. Default: 365."),
        text("dc", "Datacenter. Default: dc1."),
        text("domain", "Domain of the cluster. Default: consul."),
        text("key", "File of the CA's key. Default: #DOMAIN#-agent-ca-key.pem."),
        text("node", "Adds the name <node>.server.<datacenter>.<domain> to a server's."),
        switch("server", "Makes a certificate for a server."),
    ],
};

const WARNING: &str = "==> WARNING: Server Certificates grants authority to become a
    server and access all state in the cluster including root keys
    and all ACL tokens. Do not distribute them to production hosts
    that are not server nodes. Store them as securely as CA keys.";

impl Verb for CreateAuthority {
    fn spec(&self) -> &'static Spec {
        &AUTHORITY
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let domain = call.given.text("domain").unwrap_or("consul").to_owned();
        let (file, key_file) =
            (format!("{domain}-agent-ca.pem"), format!("{domain}-agent-ca-key.pem"));
        for file in [&file, &key_file] {
            if Path::new(file).exists() {
                return Err(failure(format!("{file} already exists.")));
            }
        }
        let mut permitted = Vec::new();
        if call.given.on("name-constraint") {
            let further = call.given.texts("additional-name-constraint").map(str::to_owned);
            permitted.extend(further);
            permitted.extend([domain, "localhost".to_owned()]);
        }
        let days = call.given.count("days").unwrap_or(AUTHORITY_DAYS);
        let issued = issue::authority(now(), days, &permitted).map_err(failure)?;
        save(call, &file, &key_file, &issued)
    }
}

impl Verb for CreateCertificate {
    fn spec(&self) -> &'static Spec {
        &CERTIFICATE
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let given = &call.given;
        let kinds =
            [("server", Purpose::Server), ("client", Purpose::Client), ("cli", Purpose::Any)];
        let mut wanted = kinds.iter().filter(|(kind, _)| given.on(kind));
        let (Some(&(kind, purpose)), None) = (wanted.next(), wanted.next()) else {
            return Err(failure("Please provide either -server, -client, or -cli"));
        };
        let node = given.text("node").filter(|node| !node.is_empty());
        if node.is_some() && purpose != Purpose::Server {
            return Err(failure("-node requires -server"));
        }
        let domain = given.text("domain").unwrap_or("consul").to_owned();
        let datacenter = given.text("dc").unwrap_or("dc1").to_owned();
        let holder = holder(call, (kind, purpose), &datacenter, &domain, node)?;
        let days = given.count("days").unwrap_or(CERTIFICATE_DAYS);
        let path =
            |flag, default: &str| given.text(flag).unwrap_or(default).replace("#DOMAIN#", &domain);
        let ca = path("ca", "#DOMAIN#-agent-ca.pem");
        let ca_key = path("key", "#DOMAIN#-agent-ca-key.pem");
        let certificate = read(&ca).map_err(|why| failure(format!("Error reading CA: {why}")))?;
        let key = read(&ca_key).map_err(|why| failure(format!("Error reading CA key: {why}")))?;
        let (file, key_file) = free(&format!("{datacenter}-{kind}-{domain}"))?;
        if purpose == Purpose::Server {
            call.say(WARNING)?;
        }
        call.say(format!("==> Using {ca} and {ca_key}"))?;
        let authority = Authority::read(&certificate, &key).map_err(failure)?;
        let issued = authority.sign(now(), days, &holder).map_err(failure)?;
        save(call, &file, &key_file, &issued)
    }
}

/// Tells whom a certificate is for.
fn holder(
    call: &Call<'_>,
    (kind, purpose): (&str, Purpose),
    datacenter: &str,
    domain: &str,
    node: Option<&str>,
) -> Result<Holder, Failure> {
    let given = &call.given;
    let name = format!("{kind}.{datacenter}.{domain}");
    let mut names: Vec<String> = given.texts("additional-dnsname").map(str::to_owned).collect();
    names.extend(node.map(|node| format!("{node}.{name}")));
    names.extend([name.clone(), "localhost".to_owned()]);
    let address = |text: &str| {
        let fault = |_| failure(format!("-additional-ipaddress: {text:?} is no IP address"));
        text.parse::<IpAddr>().map_err(fault)
    };
    let given = given.texts("additional-ipaddress").map(address);
    let mut addresses = given.collect::<Result<Vec<_>, _>>()?;
    if purpose != Purpose::Any {
        addresses.push(Ipv4Addr::LOCALHOST.into());
    }
    Ok(Holder { name, names, addresses, purpose })
}

/// Finds the first number under which there are no files yet.
fn free(prefix: &str) -> Result<(String, String), Failure> {
    let files = |n: u32| (format!("{prefix}-{n}.pem"), format!("{prefix}-{n}-key.pem"));
    let is_free =
        |(file, key): &(String, String)| !Path::new(file).exists() && !Path::new(key).exists();
    let found = (0..CERTIFICATES_MAX).map(files).find(is_free);
    found.ok_or_else(|| failure(format!("too many files {prefix}-*.pem")))
}

/// Tells the seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Reads a file that should be small.
fn read(path: &str) -> Result<Vec<u8>, String> {
    let fault = |error: std::io::Error| format!("open {path}: {}", os_text(&error));
    let file = std::fs::File::open(path).map_err(fault)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(fault)?;
    Ok(bytes)
}

/// Saves a certificate, and its key for its owner's eyes only.
fn save(call: &mut Call<'_>, file: &str, key_file: &str, issued: &Issued) -> Result<(), Failure> {
    for (path, text, mode) in [(file, &issued.certificate, 0o644), (key_file, &issued.key, 0o600)] {
        write(path, text, mode)?;
        call.say(format!("==> Saved {path}"))?;
    }
    Ok(())
}

/// Writes a new file.
fn write(path: &str, text: &str, mode: u32) -> Result<(), Failure> {
    let fault = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => failure(format!("{path} already exists.")),
        _ => failure(format!("open {path}: {}", os_text(&error))),
    };
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = file.map_err(fault)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fault)
}
