//! Each type of check, run for real on loopback.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use agent_core::health::Status;
use agent_core::model::node::Node;
use agent_linux::agent::local::{Configured, Local, Scripts, Settings};
use agent_linux::agent::{Role, runner};
use agent_linux::check::http::Http;
use agent_linux::check::script::Script;
use agent_linux::check::tcp::Tcp;
use agent_linux::check::{Job, Outcome, Verify, Work};
use agent_linux::config::definition::{CheckDefinition, ServiceDefinition};
use agent_linux::endpoint::agent::{Op, Reply};
use rustls::pki_types::PrivateKeyDer;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{PATIENCE, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

fn script(command: &str, timeout: Duration) -> Script {
    let args = ["/bin/sh", "-c", command].map(str::to_owned).to_vec();
    Script { args, timeout, output_bytes: 4096 }
}

fn http(url: String) -> Http {
    Http {
        url,
        method: String::new(),
        header: BTreeMap::new(),
        body: String::new(),
        verify: Verify::System,
        own: None,
        timeout: Duration::from_secs(10),
        output_bytes: 4096,
    }
}

/// Answers each connection with the next of `answers`; hands out what was asked.
async fn serve(answers: Vec<String>) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.91.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, questions) = mpsc::channel(16);
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = Vec::new();
            let mut buffer = [0; 4096];
            while !is_complete(&text) {
                let count = stream.read(&mut buffer).await.unwrap();
                if count == 0 {
                    break;
                }
                text.extend_from_slice(&buffer[..count]);
            }
            asked.send(String::from_utf8(text).unwrap()).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, questions)
}

/// Tells whether a request has all of its body.
fn is_complete(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// Reads the process ids that a script wrote.
fn pids(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Tells whether a process runs; one that nobody has reaped yet does not.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn scratch(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("reeve-check-{name}-{}", uuid::Uuid::new_v4()))
}

#[tokio::test]
async fn a_script_speaks_by_its_exit_code() {
    for (command, status, output) in [
        ("echo fine", Status::Passing, "fine\n"),
        ("echo out; echo err >&2; exit 1", Status::Warning, "out\nerr\n"),
        ("exit 2", Status::Critical, ""),
        ("kill -9 $$", Status::Critical, ""),
    ] {
        let outcome = script(command, Duration::from_secs(10)).run().await;
        assert_eq!(outcome, Outcome { status, output: output.to_owned() }, "{command}");
    }
}

#[tokio::test]
async fn a_script_that_does_not_start_is_critical() {
    for (program, output) in [
        ("/nonexist", "fork/exec /nonexist: no such file or directory"),
        ("no-such-program", "exec: \"no-such-program\": executable file not found in $PATH"),
        ("/etc/passwd", "fork/exec /etc/passwd: permission denied"),
    ] {
        let script =
            Script { args: vec![program.to_owned()], ..script("", Duration::from_secs(1)) };
        assert_eq!(script.run().await.output, output);
    }
}

#[tokio::test]
async fn a_script_keeps_the_end_of_its_output() {
    let mut script = script("printf 0123456789; printf abcdef", Duration::from_secs(10));
    script.output_bytes = 8;
    let outcome = script.run().await;
    assert_eq!(outcome.output, "Captured 8 of 16 bytes\n...\n89abcdef");
}

#[tokio::test]
async fn a_script_that_takes_too_long_is_killed_with_all_it_started() {
    let file = scratch("timeout");
    let command = format!(
        "trap '' TERM; (trap '' TERM; exec sleep 1000) & echo $! >> {0}; echo $$ >> {0}; \
         echo begun; while :; do sleep 1000; done",
        file.display()
    );
    let outcome = script(&command, Duration::from_millis(700)).run().await;
    assert_eq!(outcome.status, Status::Critical);
    assert_eq!(outcome.output, "Timed out (700ms) running check\n\nbegun\n");
    let started = pids(&file);
    assert_eq!(started.len(), 2);
    until("the subtree is gone", || !started.iter().any(|pid| runs(pid))).await;
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn a_script_of_a_removed_check_is_killed_with_all_it_started() {
    let file = scratch("removed");
    let command = format!("sleep 1000 & echo $! >> {0}; echo $$ >> {0}; wait", file.display());
    let script = script(&command, Duration::from_secs(1000));
    let task = tokio::spawn(async move { script.run().await });
    until("the script runs", || pids(&file).len() == 2).await;
    task.abort();
    let started = pids(&file);
    until("the subtree is gone", || !started.iter().any(|pid| runs(pid))).await;
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn an_http_check_judges_by_the_status_code() {
    let answers = vec![
        answer("200 OK", "", "body"),
        answer("429 Too Many Requests", "", ""),
        answer("500 Internal Server Error", "", "oops"),
    ];
    let (address, mut questions) = serve(answers).await;
    let url = format!("http://{address}/health?x=1");
    for (status, output) in [
        (Status::Passing, format!("HTTP GET {url}: 200 OK Output: body")),
        (Status::Warning, format!("HTTP GET {url}: 429 Too Many Requests Output: ")),
        (Status::Critical, format!("HTTP GET {url}: 500 Internal Server Error Output: oops")),
    ] {
        assert_eq!(http(url.clone()).run().await, Outcome { status, output });
    }
    let question = questions.recv().await.unwrap().to_lowercase();
    assert!(question.starts_with("get /health?x=1 http/1.1\r\n"), "{question}");
    assert!(question.contains(&format!("\r\nhost: {address}\r\n")), "{question}");
    assert!(question.contains("\r\nuser-agent: consul health check\r\n"), "{question}");
}

#[tokio::test]
async fn an_http_check_sends_what_it_is_told_and_follows_redirects() {
    let answers = vec![
        answer("307 Temporary Redirect", "Location: /there\r\n", ""),
        answer("302 Found", "Location: last\r\n", ""),
        answer("200 OK", "", "0123456789"),
    ];
    let (address, mut questions) = serve(answers).await;
    let check = Http {
        method: "PUT".to_owned(),
        body: "payload".to_owned(),
        header: BTreeMap::from([
            ("Host".to_owned(), vec!["other".to_owned()]),
            ("X-Own".to_owned(), vec!["1".to_owned(), "2".to_owned()]),
        ]),
        output_bytes: 4,
        ..http(format!("http://u:p@{address}/here"))
    };
    let outcome = check.run().await;
    assert_eq!(outcome.status, Status::Passing);
    assert!(outcome.output.ends_with(": 200 OK Output: 6789"), "{}", outcome.output);
    let first = questions.recv().await.unwrap().to_lowercase();
    assert!(first.starts_with("put /here ") && first.ends_with("payload"), "{first}");
    assert!(first.contains("\r\nhost: other\r\n"), "{first}");
    assert!(first.contains("x-own: 1\r\nx-own: 2\r\n"), "{first}");
    assert!(first.contains("authorization: basic dtpw\r\n"), "{first}");
    let second = questions.recv().await.unwrap();
    assert!(second.starts_with("PUT /there ") && second.ends_with("payload"), "{second}");
    let third = questions.recv().await.unwrap();
    assert!(third.starts_with("GET /last ") && third.ends_with("\r\n\r\n"), "{third}");
}

#[tokio::test]
async fn an_http_check_without_an_answer_is_critical() {
    let refused = TcpListener::bind("127.91.0.2:0").await.unwrap().local_addr().unwrap();
    let outcome = http(format!("http://{refused}/x")).run().await;
    assert_eq!(outcome.status, Status::Critical);
    assert_eq!(
        outcome.output,
        format!("Get \"http://{refused}/x\": dial tcp {refused}: connect: connection refused")
    );
    let silent = TcpListener::bind("127.91.0.3:0").await.unwrap();
    let url = format!("http://{}/x", silent.local_addr().unwrap());
    let check = Http { timeout: Duration::from_millis(200), ..http(url.clone()) };
    let want = format!(
        "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    );
    assert_eq!(check.run().await.output, want);
    assert_eq!(
        http("ftp://h/".to_owned()).run().await.output,
        "Get \"ftp://h/\": unsupported protocol scheme \"ftp\""
    );
}

#[tokio::test]
async fn an_https_check_believes_only_whom_it_should() {
    let listener = TcpListener::bind("127.91.0.5:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let made = rcgen::generate_simple_self_signed(["127.91.0.5".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(answer("200 OK", "", "secret").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    let doubting = http(url.clone()).run().await;
    assert_eq!(doubting.status, Status::Critical);
    assert!(doubting.output.contains("certificate"), "{}", doubting.output);
    let trusting = Http { verify: Verify::Nothing, ..http(url.clone()) }.run().await;
    assert_eq!(trusting.output, format!("HTTP GET {url}: 200 OK Output: secret"));
    assert_eq!(trusting.status, Status::Passing);
}

#[tokio::test]
async fn an_https_check_of_a_plain_server_is_critical() {
    let listener = TcpListener::bind("127.91.0.6:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(answer("400 Bad Request", "", "").as_bytes()).await;
    });
    let want = format!("Get \"{url}\": http: server gave HTTP response to HTTPS client");
    assert_eq!(http(url).run().await, Outcome { status: Status::Critical, output: want });
}

#[tokio::test]
async fn a_tcp_check_connects() {
    let listener = TcpListener::bind("127.91.0.4:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let check = Tcp { target: address.to_string(), timeout: Duration::from_secs(10) };
    let outcome = check.run().await;
    let output = format!("TCP connect {address}: Success");
    assert_eq!(outcome, Outcome { status: Status::Passing, output });
    drop(listener);
    let outcome = check.run().await;
    let output = format!("dial tcp {address}: connect: connection refused");
    assert_eq!(outcome, Outcome { status: Status::Critical, output });
}

#[tokio::test]
async fn an_agent_runs_its_checks_and_ends_them_with_their_service() {
    let listener = TcpListener::bind("127.91.0.7:0").await.unwrap();
    let file = scratch("agent");
    let hang = format!("echo $$ >> {}; sleep 1000", file.display());
    let node = Node { name: "n1".to_owned(), ..Node::default() };
    let settings = Settings {
        role: Role::Client,
        scripts: Scripts::All,
        check_update_interval: agent_core::time::Duration::from_secs(300),
        check_output_bytes: 4096,
        discard_check_output: false,
    };
    let local = Local::open(None, node, settings, Configured::default()).unwrap();
    let stop = watch::Sender::new(false);
    let runner = tokio::spawn(runner::run(Arc::clone(&local), stop.subscribe()));
    let definition = serde_json::json!({"Name": "web", "Checks": [
        {"CheckID": "tcp", "TCP": listener.local_addr().unwrap().to_string(), "Interval": "1s"},
        {"CheckID": "ttl", "TTL": "200ms", "Status": "passing"},
        {"CheckID": "hang", "Args": ["/bin/sh", "-c", hang], "Interval": "1s", "Timeout": "1h"},
        {"CheckID": "alias", "AliasService": "web"},
    ]});
    let definition = Box::new(ServiceDefinition::from_json(definition).unwrap());
    let op = Op::RegisterService { definition, replace_existing_checks: false };
    local.serve("", op).await.unwrap();

    await_check(&local, "tcp", Status::Passing, "Success").await;
    await_check(&local, "ttl", Status::Critical, "TTL expired").await;
    await_check(&local, "alias", Status::Critical, "Aliased check").await;
    drop(listener);
    await_check(&local, "tcp", Status::Critical, "connection refused").await;
    until("the script runs", || pids(&file).len() == 1).await;
    let started = pids(&file);
    local.serve("", Op::DeregisterService { id: "web".to_owned() }).await.unwrap();
    until("the script is gone", || !started.iter().any(|pid| runs(pid))).await;
    stop.send_replace(true);
    runner.await.unwrap();
    std::fs::remove_file(file).unwrap();
}

/// Waits until a check of the agent stands and says as wanted.
async fn await_check(local: &Arc<Local>, id: &str, status: Status, output: &str) {
    let deadline = Instant::now() + PATIENCE;
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    loop {
        let reply = local.serve("", Op::Checks { filter: String::new() }).await.unwrap();
        let Reply::Checks(checks) = reply else { panic!("{reply:?}") };
        if checks[id].status == status && checks[id].output.contains(output) {
            return;
        }
        assert!(Instant::now() < deadline, "{:?}", checks[id]);
        looks.tick().await;
    }
}

#[test]
fn a_definition_becomes_what_it_asks_for() {
    let work = |json| Work::of(&CheckDefinition::from_json(json).unwrap(), 4096);
    let tcp = work(serde_json::json!({"TCP": "a:1", "Interval": "10s", "Timeout": "1s"}));
    let Work::Run(Job::Tcp(tcp)) = tcp else { panic!("{tcp:?}") };
    assert_eq!(tcp, Tcp { target: "a:1".to_owned(), timeout: Duration::from_secs(1) });
    let script = work(serde_json::json!({"Args": ["x"], "Interval": "10s", "OutputMaxSize": 9}));
    let Work::Run(Job::Script(script)) = script else { panic!("{script:?}") };
    assert_eq!((script.timeout, script.output_bytes), (Duration::from_secs(30), 9));
    let json = serde_json::json!({
        "GRPC": "a:1/b", "GRPCUseTLS": true, "TLSSkipVerify": true, "Interval": "10s",
    });
    let Work::Run(Job::Grpc(grpc)) = work(json) else { panic!("it is a gRPC check") };
    assert_eq!((grpc.target.as_str(), grpc.tls), ("a:1/b", Some(Verify::Nothing)));
    let json = serde_json::json!({"DockerContainerID": "c", "Args": ["x"], "Interval": "10s"});
    let Work::Run(Job::Docker(docker)) = work(json) else { panic!("it is a Docker check") };
    assert_eq!((docker.container.as_str(), docker.timeout), ("c", Duration::from_secs(30)));
}
