//! HTTPS: the API and the command line over TLS, with and without certificates of clients.

mod support;

use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use support::cluster::{Agent, Cluster};
use support::{Folder, PATIENCE, eventually};

/// Writes bytes as OpenSSL does: RFC 7468.
fn pem(label: &str, bytes: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect::<Vec<_>>();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// An authority and the folder that its certificates are in.
struct Authority {
    folder: Folder,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let folder = Folder::new(name);
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(folder.path().join("ca.pem"), pem("CERTIFICATE", certificate.der()))
            .expect("a file");
        Authority { folder, issuer: Issuer::new(params, key) }
    }

    /// Writes a certificate for these names and its key, over whatever there was.
    fn issue(&self, file: &str, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names).expect("names");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let text = pem("CERTIFICATE", certificate.der());
        std::fs::write(self.path(&format!("{file}.pem")), text).expect("a file");
        let text = pem("PRIVATE KEY", &key.serialize_der());
        std::fs::write(self.path(&format!("{file}.key")), text).expect("a file");
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }
}

/// Adds a server that speaks HTTPS on port 8501, with further configuration.
fn server(cluster: &mut Cluster, authority: &Authority, more: &str) {
    let agent = cluster.add("secure", &["-server", "-bootstrap-expect=1", "-https-port=8501"]);
    let (address, folder) = (agent.address.to_string(), agent.folder().to_owned());
    authority.issue("server", &[&address, "server.dc1.consul"]);
    configure(&folder, authority, "server", more);
    agent.flag(format!("-config-file={}", folder.join("tls.hcl").display()));
}

/// Writes which certificate an agent presents.
fn configure(folder: &Path, authority: &Authority, file: &str, more: &str) {
    let [ca, cert, key] =
        ["ca.pem", &format!("{file}.pem"), &format!("{file}.key")].map(|file| authority.path(file));
    let text = format!("ca_file = {ca:?}\ncert_file = {cert:?}\nkey_file = {key:?}\n{more}\n");
    std::fs::write(folder.join("tls.hcl"), text).expect("a file");
}

/// Runs a verb with this environment; answers whether it did well, its output and its errors.
fn run(env: &[(&str, &str)], args: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reeve"));
    command.env_clear().envs(env.iter().copied()).args(args).stdin(Stdio::null());
    let output = command.output().expect("the command runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// Sends bytes to the port of HTTPS as they are; answers what comes until the connection ends.
fn speak(agent: &Agent, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect((agent.address, 8501)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(bytes).expect("sent");
    let mut answer = Vec::new();
    // A connection that is reset has ended, too; one that is held has not.
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("held: {error}"),
        Ok(_) | Err(_) => String::from_utf8_lossy(&answer).into_owned(),
    }
}

fn url(agent: &Agent) -> String {
    format!("https://{}:8501", agent.address)
}

#[test]
fn the_command_line_speaks_https_to_whom_it_trusts() {
    let authority = Authority::new("authority");
    let stranger = Authority::new("stranger");
    let mut cluster = Cluster::loopback();
    server(&mut cluster, &authority, "");
    cluster.start(0);
    cluster.until_leader();
    let agent = &cluster.agents[0];
    assert!(agent.log().contains("HTTPS: 8501"), "{}", agent.log());
    let plain = speak(agent, b"GET /v1/status/leader HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(
        plain,
        "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
    );
    let (address, ca) = (url(agent), authority.path("ca.pem").display().to_string());
    let strange = stranger.path("ca.pem").display().to_string();

    let (well, output, errors) = run(
        &[("CONSUL_HTTP_ADDR", address.as_str()), ("CONSUL_CACERT", ca.as_str())],
        &["kv", "put", "secret", "told"],
    );
    assert!(well, "{output}{errors}");
    assert_eq!(agent.http().get("/v1/kv/secret?raw").text(), "told");
    let bare = format!("{}:8501", agent.address);
    let folder = stranger.folder.path().join("trusted");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(&ca, folder.join("a.pem")).unwrap();
    let folder = folder.display().to_string();
    let (ca, strange, folder) = (ca.as_str(), strange.as_str(), folder.as_str());
    let nobody = "-http-addr=https://localhost.invalid";
    let named = format!("-http-addr={address}");
    let named = named.as_str();
    for (env, args, fault) in [
        (
            vec![("CONSUL_HTTP_ADDR", bare.as_str()), ("CONSUL_HTTP_SSL", "true")],
            vec!["-ca-file", ca],
            None,
        ),
        (vec![("CONSUL_CAPATH", folder)], vec![named], None),
        (vec![], vec![named, "-ca-path", folder], None),
        (vec![("CONSUL_HTTP_SSL_VERIFY", "false")], vec![named], None),
        (vec![], vec![named, "-ca-file", ca, "-tls-server-name=server.dc1.consul"], None),
        (
            vec![("CONSUL_TLS_SERVER_NAME", "other.example")],
            vec![named, "-ca-file", ca],
            Some("other.example"),
        ),
        (vec![], vec![named], Some("certificate")),
        (vec![], vec![named, "-ca-file", strange], Some("certificate")),
        (vec![], vec![named, "-ca-file", "/no/such"], Some("open /no/such: no such file")),
        (vec![], vec![named, "-client-cert", ca], Some("both client cert and client key")),
        (vec![], vec![nobody], Some("no such host")),
    ] {
        let args: Vec<&str> = ["kv", "get"].into_iter().chain(args).chain(["secret"]).collect();
        let (well, output, errors) = run(&env, &args);
        match fault {
            None => assert_eq!((well, output.as_str()), (true, "told\n"), "{args:?}: {errors}"),
            Some(fault) => {
                assert!(!well && errors.contains(fault), "{args:?}: {output}{errors}");
            }
        }
    }
}

/// Whether Consul's own command can be run.
fn has_consul() -> bool {
    Command::new("consul").arg("version").output().is_ok_and(|output| output.status.success())
}

#[test]
fn consuls_command_line_and_reeves_speak_https_to_each_others_agents() {
    if !has_consul() {
        eprintln!("no consul command here: nothing to speak to");
        return;
    }
    let reeve = env!("CARGO_BIN_EXE_reeve");
    for (served, asks) in [("consul", reeve), (reeve, "consul")] {
        let authority = Authority::new("authority");
        let mut cluster = Cluster::loopback();
        server(&mut cluster, &authority, "verify_incoming_https = true");
        authority.issue("client", &["client"]);
        cluster.agents[0].run_by(vec![served.to_owned()]);
        cluster.start(0);
        cluster.until_leader();
        let address = url(&cluster.agents[0]);
        let path = |file: &str| authority.path(file).display().to_string();
        let snapshot = path("backup.snap");
        let ask = |pair: &str, words: &[&str]| {
            let mut command = Command::new(asks);
            command.args(words).env("CONSUL_HTTP_ADDR", &address).stdin(Stdio::null());
            command.env("CONSUL_CACERT", path("ca.pem"));
            if !pair.is_empty() {
                command.env("CONSUL_CLIENT_CERT", path(&format!("{pair}.pem")));
                command.env("CONSUL_CLIENT_KEY", path(&format!("{pair}.key")));
            }
            let output = command.output().expect("the command runs");
            let told = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8_lossy(&told).into_owned())
        };
        for (words, wanted) in [
            (["kv", "put", "a", "told"].as_slice(), "Success! Data written to: a"),
            (&["kv", "get", "a"], "told"),
            (&["members"], "secure"),
            (&["snapshot", "save", &snapshot], "Saved and verified snapshot to index"),
            (&["snapshot", "restore", &snapshot], "Restored snapshot"),
            (&["lock", "l", "echo", "locked"], "locked"),
        ] {
            let (well, told) = ask("client", words);
            assert!(well && told.contains(wanted), "{asks} to {served}: {words:?}: {told}");
        }
        let (well, told) = ask("", &["kv", "get", "a"]);
        assert!(!well, "{asks} to {served} without a certificate: {told}");
    }
}

#[test]
fn who_does_not_shake_hands_in_time_is_let_go() {
    let authority = Authority::new("authority");
    let mut cluster = Cluster::loopback();
    server(&mut cluster, &authority, "limits { https_handshake_timeout = \"100ms\" }");
    cluster.start(0);
    cluster.until_leader();
    let agent = &cluster.agents[0];
    assert_eq!(speak(agent, b""), "");
    assert_eq!(speak(agent, &[0x16, 3, 1]), "");
    assert_eq!(speak(agent, &[0]), "");
}

#[test]
fn clients_need_a_certificate_where_they_are_verified() {
    let (authority, stranger) = (Authority::new("authority"), Authority::new("stranger"));
    let mut cluster = Cluster::loopback();
    server(&mut cluster, &authority, "verify_incoming_https = true tls_min_version = \"tls13\"");
    cluster.start(0);
    cluster.until_leader();
    let agent = &cluster.agents[0];
    authority.issue("client", &["client.dc1.consul"]);
    stranger.issue("client", &["client.dc1.consul"]);
    let (address, ca) = (url(agent), authority.path("ca.pem").display().to_string());
    let trusted = [("CONSUL_HTTP_ADDR", address.as_str()), ("CONSUL_CACERT", ca.as_str())];
    let ask = |of: Option<&Authority>| {
        let files = of.map(|of| ["client.pem", "client.key"].map(|f| of.path(f)));
        let files = files.map(|files| files.map(|file| file.display().to_string()));
        let mut env = trusted.to_vec();
        if let Some([cert, key]) = &files {
            env.extend([("CONSUL_CLIENT_CERT", cert.as_str()), ("CONSUL_CLIENT_KEY", key)]);
        }
        run(&env, &["catalog", "datacenters"])
    };
    let (well, output, errors) = ask(Some(&authority));
    assert_eq!((well, output.as_str()), (true, "dc1\n"), "{errors}");
    for of in [None, Some(&stranger)] {
        let (well, output, errors) = ask(of);
        assert!(!well && output.is_empty() && errors.contains(&address), "{errors}");
    }
    // Plain HTTP is another listener.
    assert_eq!(agent.http().get("/v1/status/leader").status, 200);
    let shown = agent.http().get("/v1/agent/self").json();
    let shown = &shown["DebugConfig"];
    assert_eq!(
        (shown["HTTPSPort"].as_i64(), shown["TLSMinVersion"].as_str()),
        (Some(8501), Some("tls13"))
    );
    assert_eq!(shown["VerifyIncomingHTTPS"].as_bool(), Some(true));
    assert_eq!(shown["KeyFile"].as_str(), Some("hidden"));
}

#[test]
fn a_reload_changes_certificates_and_a_broken_one_changes_nothing() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let mut cluster = Cluster::loopback();
    server(&mut cluster, &old, "");
    cluster.start(0);
    cluster.until_leader();
    let agent = &cluster.agents[0];
    let address = url(agent);
    let believes = |authority: &Authority| {
        let ca = authority.path("ca.pem").display().to_string();
        let env = [("CONSUL_HTTP_ADDR", address.as_str()), ("CONSUL_CACERT", ca.as_str())];
        run(&env, &["catalog", "datacenters"]).0
    };
    assert!(believes(&old) && !believes(&new));

    new.issue("server", &[&agent.address.to_string()]);
    configure(agent.folder(), &new, "server", "");
    agent.signal(Signal::HUP);
    eventually(PATIENCE, "the new certificate is presented", || {
        believes(&new).then_some(()).ok_or_else(|| agent.log())
    });
    assert!(!believes(&old));

    std::fs::write(new.path("server.pem"), "no certificate").unwrap();
    let refused = agent.http().put("/v1/agent/reload", "");
    let named = new.path("server.pem").display().to_string();
    assert_eq!(refused.status, 500, "{}", refused.text());
    assert!(refused.text().contains(&named), "{}", refused.text());
    assert!(believes(&new));
}

#[test]
fn bad_files_stop_the_start_and_are_named() {
    let authority = Authority::new("authority");
    let folder = authority.folder.path().display().to_string();
    authority.issue("a", &["a.example"]);
    authority.issue("b", &["b.example"]);
    std::fs::write(authority.path("junk"), "junk").unwrap();
    let good = format!("cert_file = \"{folder}/a.pem\" key_file = \"{folder}/a.key\"");
    for (text, fault) in [
        ("".to_owned(), "ports.https: needs cert_file and key_file".to_owned()),
        (format!("cert_file = \"{folder}/a.pem\""), "is of no use without key_file".to_owned()),
        (
            format!("cert_file = \"{folder}/none\" key_file = \"{folder}/a.key\""),
            format!("Failed to load cert/key pair: open {folder}/none: no such file or directory"),
        ),
        (
            format!("cert_file = \"{folder}/junk\" key_file = \"{folder}/a.key\""),
            format!("{folder}/junk: no certificate in PEM form found"),
        ),
        (
            format!("cert_file = \"{folder}/a.pem\" key_file = \"{folder}/junk\""),
            format!("{folder}/junk: no private key in PEM form found"),
        ),
        (
            format!("cert_file = \"{folder}/a.pem\" key_file = \"{folder}/b.key\""),
            "private key does not match public key".to_owned(),
        ),
        (format!("{good} ca_file = \"{folder}/junk\""), format!("{folder}/junk: no certificate")),
        (format!("{good} ca_path = \"{folder}/none\""), format!("open {folder}/none: no such")),
        (
            format!("{good} verify_incoming_https = true"),
            "VerifyIncoming set but no CA certificates were provided".to_owned(),
        ),
        (format!("{good} tls_min_version = \"ssl3\""), "value ssl3 not supported".to_owned()),
        (format!("{good} tls_cipher_suites = \"x\""), "unsupported cipher \"x\"".to_owned()),
    ] {
        let mut cluster = Cluster::loopback();
        let agent = cluster.add("bad", &["-server", "-https-port=8501", "-hcl", &text]);
        agent.start();
        let status = agent.wait();
        assert!(!status.success(), "{text}");
        assert!(agent.log().contains(&fault), "{text}: {}", agent.log());
    }
}

#[test]
fn https_is_served_on_a_unix_socket_too() {
    let authority = Authority::new("authority");
    let socket = authority.path("socket").display().to_string();
    let mut cluster = Cluster::loopback();
    server(&mut cluster, &authority, &format!("addresses {{ https = \"unix://{socket}\" }}"));
    cluster.start(0);
    cluster.until_leader();
    let mut roots = rustls::RootCertStore::empty();
    let ca = std::fs::read(authority.path("ca.pem")).unwrap();
    use rustls::pki_types::pem::PemObject;
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(&ca).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from("server.dc1.consul").unwrap();
    let tls = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut stream = rustls::StreamOwned::new(tls, stream);
    stream
        .write_all(b"GET /v1/status/leader HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[test]
fn checks_come_with_the_agents_certificate_if_they_are_to() {
    let authority = Authority::new("authority");
    for (setting, status) in [("true", "passing"), ("false", "critical")] {
        let mut cluster = Cluster::loopback();
        let more = format!(
            "verify_incoming_https = true\nserver_name = \"server.dc1.consul\"\n\
             enable_agent_tls_for_checks = {setting}"
        );
        server(&mut cluster, &authority, &more);
        cluster.start(0);
        cluster.until_leader();
        let agent = &cluster.agents[0];
        let check = serde_json::json!({
            "ID": "own",
            "Name": "own",
            "Interval": "1s",
            "HTTP": format!("{}/v1/status/leader", url(agent)),
        });
        let check = check.to_string();
        assert_eq!(agent.http().put("/v1/agent/check/register", &check).status, 200);
        eventually(PATIENCE, "the check has run", || {
            let checks = agent.http().get("/v1/agent/checks").text();
            let told: serde_json::Value = serde_json::from_str(&checks).expect("JSON");
            let own = &told["own"];
            let ran = own["Status"] == status && own["Output"] != "";
            if ran { Ok(()) } else { Err(checks) }
        });
    }
}
