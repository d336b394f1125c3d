//! `tls`: an authority of one's own and what it signs, seen by openssl where it is there, by HTTPS
//! and by the agent itself.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use support::cluster::Cluster;
use support::{Folder, reeve};

/// Runs `tls` in a folder; answers the exit code, the output and the errors.
fn tls(folder: &Path, line: &str) -> (i32, String, String) {
    let mut command = Command::new(reeve());
    command.current_dir(folder).arg("tls").args(line.split(' '));
    let output = command.output().expect("the command runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// Asks openssl; nothing if it is not here.
fn openssl(folder: &Path, line: &str) -> Option<String> {
    let mut command = Command::new("openssl");
    let output = match command.current_dir(folder).args(line.split(' ')).output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("openssl is not here to look: {error}");
            return None;
        }
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{line}: {text}{}", String::from_utf8_lossy(&output.stderr));
    Some(text)
}

const WARNING: &str = "==> WARNING: Server Certificates grants authority to become a
    server and access all state in the cluster including root keys
    and all ACL tokens. Do not distribute them to production hosts
    that are not server nodes. Store them as securely as CA keys.
";

#[test]
fn files_have_consuls_names_and_are_never_written_over() {
    let folder = Folder::new("tls");
    let at = folder.path();
    let saved = "==> Saved consul-agent-ca.pem\n==> Saved consul-agent-ca-key.pem\n";
    assert_eq!(tls(at, "ca create"), (0, saved.to_owned(), String::new()));
    let again = (1, String::new(), "consul-agent-ca.pem already exists.\n".to_owned());
    assert_eq!(tls(at, "ca create"), again);
    let using = "==> Using consul-agent-ca.pem and consul-agent-ca-key.pem\n";
    for (number, kind, warning) in
        [(0, "server", WARNING), (1, "server", WARNING), (0, "client", ""), (0, "cli", "")]
    {
        let file = format!("dc1-{kind}-consul-{number}");
        let want = format!("{warning}{using}==> Saved {file}.pem\n==> Saved {file}-key.pem\n");
        assert_eq!(tls(at, &format!("cert create -{kind}")), (0, want, String::new()));
        let mode = |name: &str| at.join(name).metadata().expect("a file").permissions().mode();
        assert_eq!(mode(&format!("{file}-key.pem")) & 0o777, 0o600, "{file}");
    }
    for (line, want) in [
        ("cert create", "Please provide either -server, -client, or -cli\n"),
        ("cert create -server -client", "Please provide either -server, -client, or -cli\n"),
        ("cert create -client -node=n", "-node requires -server\n"),
        (
            "cert create -server -domain=foo",
            "Error reading CA: open foo-agent-ca.pem: no such file or directory\n",
        ),
        (
            "cert create -server -key=nope.pem",
            "Error reading CA key: open nope.pem: no such file or directory\n",
        ),
        (
            "cert create -server -additional-ipaddress=nope",
            "-additional-ipaddress: \"nope\" is no IP address\n",
        ),
    ] {
        let got = tls(at, line);
        assert_eq!((got.0, got.2.as_str()), (1, want), "{line}");
    }
    let (code, _, errors) = tls(at, "cert create -server -key=dc1-cli-consul-0-key.pem");
    assert_eq!(code, 1, "a key that is not the authority's: {errors}");
    assert!(!at.join("dc1-server-consul-2.pem").exists());
}

#[test]
fn certificates_hold_what_consuls_hold() {
    let folder = Folder::new("tls");
    let at = folder.path();
    assert_eq!(tls(at, "ca create -domain=foo -days=10 -name-constraint").0, 0);
    let line = "cert create -server -domain=foo -dc=dc2 -node=n1 -additional-dnsname=x.foo \
                -additional-ipaddress=10.0.0.1 -additional-ipaddress=::1 -days=3";
    assert_eq!(tls(at, line).0, 0);
    assert_eq!(tls(at, "cert create -client -domain=foo").0, 0);
    assert_eq!(tls(at, "cert create -cli -domain=foo").0, 0);
    let Some(text) = openssl(at, "x509 -in foo-agent-ca.pem -noout -text") else { return };
    for want in [
        "Version: 3",
        "Signature Algorithm: ecdsa-with-SHA256",
        "NIST CURVE: P-256",
        "Digital Signature, Certificate Sign, CRL Sign",
        "CA:TRUE",
        "DNS:foo",
        "DNS:localhost",
    ] {
        assert!(text.contains(want), "{want}: {text}");
    }
    for (file, subject, usage, names) in [
        (
            "dc2-server-foo-0",
            "CN = server.dc2.foo",
            "TLS Web Server Authentication, TLS Web Client Authentication",
            "DNS:x.foo, DNS:n1.server.dc2.foo, DNS:server.dc2.foo, DNS:localhost, \
             IP Address:10.0.0.1, IP Address:0:0:0:0:0:0:0:1, IP Address:127.0.0.1",
        ),
        (
            "dc1-client-foo-0",
            "CN = client.dc1.foo",
            "TLS Web Client Authentication, TLS Web Server Authentication",
            "DNS:client.dc1.foo, DNS:localhost, IP Address:127.0.0.1",
        ),
        ("dc1-cli-foo-0", "CN = cli.dc1.foo", "", "DNS:cli.dc1.foo, DNS:localhost\n"),
    ] {
        let text = openssl(at, &format!("x509 -in {file}.pem -noout -text")).expect("openssl");
        let text = text.replace("CN=", "CN = ");
        for want in [subject, usage, names, "Digital Signature, Key Encipherment", "CA:FALSE"] {
            assert!(text.contains(want), "{file}: {want}: {text}");
        }
        assert_eq!(text.contains("Extended Key Usage"), !usage.is_empty(), "{text}");
        let verified = openssl(at, &format!("verify -CAfile foo-agent-ca.pem {file}.pem"));
        assert_eq!(verified.as_deref(), Some(&*format!("{file}.pem: OK\n")));
        let public = |line: String| openssl(at, &line).expect("openssl");
        assert_eq!(
            public(format!("pkey -in {file}-key.pem -pubout")),
            public(format!("x509 -in {file}.pem -noout -pubkey")),
            "the key is the certificate's"
        );
    }
    let pair = std::fs::read_to_string(at.join("dc1-cli-foo-0-key.pem")).expect("a key");
    assert!(pair.starts_with("-----BEGIN EC PRIVATE KEY-----\n"), "{pair}");
}

#[test]
fn an_authority_that_another_program_made_signs_too() {
    let folder = Folder::new("tls");
    let at = folder.path();
    let make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 10 \
                -keyout k.pem -out c.pem";
    let mut command = Command::new("openssl");
    command.current_dir(at).args(make.split(' ')).args(["-subj", "/O=Some Body/CN=own"]);
    match command.output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => return eprintln!("openssl is not here: {error}"),
    }
    let (code, output, errors) = tls(at, "cert create -server -ca=c.pem -key=k.pem");
    assert_eq!(code, 0, "{output}{errors}");
    openssl(at, "verify -CAfile c.pem dc1-server-consul-0.pem").expect("openssl");
}

#[test]
fn an_agent_serves_https_with_them() {
    let folder = Folder::new("tls");
    let at = folder.path();
    assert_eq!(tls(at, "ca create").0, 0);
    let mut cluster = Cluster::loopback();
    let agent = cluster.add("secure", &["-server", "-bootstrap-expect=1", "-https-port=8501"]);
    let address = agent.address.to_string();
    let server = format!("cert create -server -additional-ipaddress={address}");
    assert_eq!(tls(at, &server).0, 0);
    assert_eq!(tls(at, "cert create -cli").0, 0);
    let file = |name: &str| at.join(name).display().to_string();
    agent.flag(format!(
        "-hcl=ca_file = {:?}\ncert_file = {:?}\nkey_file = {:?}\nverify_incoming_https = true",
        file("consul-agent-ca.pem"),
        file("dc1-server-consul-0.pem"),
        file("dc1-server-consul-0-key.pem")
    ));
    cluster.start(0);
    cluster.until_leader();
    let leader = |own: &[String]| {
        let mut command = Command::new(reeve());
        command.arg("operator").args(["raft", "list-peers"]);
        command.arg(format!("-http-addr=https://{address}:8501"));
        command.arg(format!("-ca-file={}", file("consul-agent-ca.pem"))).args(own);
        command.output().expect("the command runs")
    };
    let own = [
        format!("-client-cert={}", file("dc1-cli-consul-0.pem")),
        format!("-client-key={}", file("dc1-cli-consul-0-key.pem")),
    ];
    let peers = leader(&own);
    assert!(peers.status.success(), "{peers:?}");
    assert!(String::from_utf8_lossy(&peers.stdout).contains("secure"), "{peers:?}");
    assert!(!leader(&[]).status.success(), "a client without a certificate is refused");
}
