//! Checks that ask somebody else by a protocol of its own: gRPC applications, the Docker daemon.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use agent_core::health::Status;
use agent_linux::check::docker::Docker;
use agent_linux::check::grpc::Grpc;
use agent_linux::check::{Outcome, Verify};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::PrivateKeyDer;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

const PATIENCE: Duration = Duration::from_secs(45);

fn passing(output: &str) -> Outcome {
    Outcome { status: Status::Passing, output: output.to_owned() }
}

fn critical(output: &str) -> Outcome {
    Outcome { status: Status::Critical, output: output.to_owned() }
}

/// Answers calls of the health protocol: the application serves, its service `down` does not, of
/// others it knows nothing.
async fn health(request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
    assert_eq!(request.headers()["content-type"], "application/grpc");
    assert_eq!(request.headers()["te"], "trailers");
    let asked = request.into_body().collect().await.unwrap().to_bytes();
    let (code, why, message): (&str, &str, &'static [u8]) = match &asked[5..] {
        b"" | b"\x0a\x02up" => ("0", "", &[0, 0, 0, 0, 2, 8, 1]),
        b"\x0a\x04down" => ("0", "", &[0, 0, 0, 0, 2, 8, 2]),
        _ => ("5", "unknown%20service", &[]),
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(code));
    trailers.insert("grpc-message", HeaderValue::from_static(why));
    let mut response = Response::new(Answer { message: Some(message.into()), trailers: None });
    if message.is_empty() {
        response.headers_mut().extend(trailers);
    } else {
        response.body_mut().trailers = Some(trailers);
    }
    Ok(response)
}

/// A message and the trailers after it.
struct Answer {
    message: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let message = self.message.take().filter(|message| !message.is_empty()).map(Frame::data);
        let frame = message.or_else(|| self.trailers.take().map(Frame::trailers));
        std::task::Poll::Ready(frame.map(Ok))
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) {
    let server = http2::Builder::new(TokioExecutor::new());
    let _ = server.serve_connection(TokioIo::new(stream), service_fn(health)).await;
}

/// Starts an application; answers its address.
async fn application(tls: Option<TlsAcceptor>) -> String {
    let listener = TcpListener::bind("127.91.1.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            match &tls {
                None => drop(tokio::spawn(converse(stream))),
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        tokio::spawn(converse(stream));
                    }
                }
            }
        }
    });
    address
}

fn grpc(target: impl Into<String>) -> Grpc {
    Grpc { target: target.into(), tls: None, own: None, timeout: PATIENCE }
}

#[tokio::test]
async fn a_grpc_application_speaks_for_itself_and_its_services() {
    let at = application(None).await;
    let unhealthy = "gRPC application didn't report service healthy";
    let unknown = "rpc error: code = NotFound desc = unknown service";
    for (target, want) in [
        (at.clone(), passing(&format!("gRPC check {at}: success"))),
        (format!("{at}/up"), passing(&format!("gRPC check {at}/up: success"))),
        (format!("{at}/down"), critical(unhealthy)),
        (format!("{at}/nope"), critical(unknown)),
    ] {
        assert_eq!(grpc(target.clone()).run().await, want, "{target}");
    }
}

#[tokio::test]
async fn a_grpc_check_speaks_tls_when_told_so() {
    let key = rcgen::generate_simple_self_signed(["127.91.1.1".to_owned()]).unwrap();
    let secret = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], secret)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let at = application(Some(TlsAcceptor::from(Arc::new(config)))).await;
    let trusting = Grpc { tls: Some(Verify::Nothing), ..grpc(at.clone()) };
    assert_eq!(trusting.run().await, passing(&format!("gRPC check {at}: success")));
    let doubting = Grpc { tls: Some(Verify::System), ..grpc(at) }.run().await;
    let start = "rpc error: code = Unavailable desc = connection error: desc = \"transport: \
                 authentication handshake failed: ";
    assert!(doubting.output.starts_with(start), "{}", doubting.output);
    assert_eq!(doubting.status, Status::Critical);
}

#[tokio::test]
async fn a_grpc_check_that_reaches_nobody_is_critical() {
    let listener = TcpListener::bind("127.91.1.2:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let dialing = "rpc error: code = Unavailable desc = connection error: desc = \"transport: \
                   Error while dialing dial tcp";
    let mut hasty = grpc(at.to_string());
    hasty.timeout = Duration::from_millis(50);
    let late = "rpc error: code = DeadlineExceeded desc = context deadline exceeded";
    assert_eq!(hasty.run().await, critical(late));
    drop(listener);
    let refused = format!("{dialing} {at}: connect: connection refused\"");
    assert_eq!(grpc(at.to_string()).run().await, critical(&refused));
    let nowhere = format!("{dialing}: address nowhere: missing port in address\"");
    assert_eq!(grpc("nowhere/web").run().await, critical(&nowhere));
}

#[tokio::test]
async fn a_grpc_check_of_something_else_is_critical() {
    let listener = TcpListener::bind("127.91.1.3:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = [0; 1024];
        let _ = stream.read(&mut asked).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let closed = "rpc error: code = Unavailable desc = connection closed";
    assert_eq!(grpc(at).run().await, critical(closed));
}

/// A Docker daemon: what it was asked, and the socket that it listens on.
struct Daemon {
    socket: PathBuf,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Daemon {
    fn start() -> Self {
        let socket = std::env::temp_dir().join(format!("reeve-docker-{}", uuid::Uuid::new_v4()));
        let listener = UnixListener::bind(&socket).unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let book = asked.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let book = book.clone();
                let answer = service_fn(move |request| daemon(request, book.clone()));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        Self { socket, asked }
    }

    /// A check in one of its containers: the exit code is the container's name.
    fn check(&self, container: &str) -> Docker {
        Docker {
            socket: self.socket.clone(),
            container: container.to_owned(),
            args: vec!["/bin/check".to_owned(), "-x".to_owned()],
            timeout: PATIENCE,
            output_bytes: 4096,
        }
    }
}

/// Answers as the daemon does; the command writes to both of its outputs.
async fn daemon(
    request: Request<Incoming>,
    asked: Arc<Mutex<Vec<String>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let path = head.uri.path().to_owned();
    asked.lock().unwrap().push(format!(
        "{} {path} {}",
        head.method,
        String::from_utf8_lossy(&body)
    ));
    let parts: Vec<&str> = path.split('/').collect();
    let (code, answer): (u16, Vec<u8>) = match (&head.method, parts[1], parts[2], parts[3]) {
        (&Method::POST, "containers", "gone", "exec") => (404, b"no such container".to_vec()),
        (&Method::POST, "containers", "paused", "exec") => (409, b"paused".to_vec()),
        (&Method::POST, "containers", "boom", "exec") => (500, b"boom".to_vec()),
        (&Method::POST, "containers", name, "exec") => {
            (201, format!("{{\"Id\":\"{name}\"}}").into_bytes())
        }
        (&Method::POST, "exec", "silent", "start") => std::future::pending().await,
        (&Method::POST, "exec", _, "start") => {
            (200, b"\x01\0\0\0\0\0\0\x04out\n\x02\0\0\0\0\0\0\x04err\n".to_vec())
        }
        (&Method::GET, "exec", code, "json") => {
            (200, format!("{{\"ExitCode\":{code},\"Running\":false}}").into_bytes())
        }
        _ => (400, Vec::new()),
    };
    let mut response = Response::new(Full::from(answer));
    *response.status_mut() = code.try_into().unwrap();
    Ok(response)
}

#[tokio::test]
async fn a_docker_check_speaks_by_the_exit_code_in_the_container() {
    let daemon = Daemon::start();
    for (code, status) in [("0", Status::Passing), ("1", Status::Warning), ("2", Status::Critical)]
    {
        let outcome = daemon.check(code).run().await;
        assert_eq!(outcome, Outcome { status, output: "out\nerr\n".to_owned() }, "{code}");
    }
    let asked = daemon.asked.lock().unwrap();
    let create: serde_json::Value =
        serde_json::from_str(asked[0].strip_prefix("POST /containers/0/exec ").unwrap()).unwrap();
    let wanted = serde_json::json!({
        "AttachStdin": false, "AttachStdout": true, "AttachStderr": true, "Tty": false,
        "Cmd": ["/bin/check", "-x"],
    });
    assert_eq!(create, wanted);
    assert_eq!(asked[1], "POST /exec/0/start {\"Detach\":false,\"Tty\":false}");
    assert_eq!(asked[2], "GET /exec/0/json ");
}

#[tokio::test]
async fn a_docker_check_without_its_container_is_critical() {
    let daemon = Daemon::start();
    for (container, output) in [
        ("gone", "create exec failed for unknown container gone"),
        ("paused", "create exec failed since container paused is paused or stopped"),
        ("boom", "create exec failed for container boom with status 500: boom"),
    ] {
        assert_eq!(daemon.check(container).run().await, critical(output));
    }
    let mut hasty = daemon.check("silent");
    hasty.timeout = Duration::from_millis(50);
    assert_eq!(hasty.run().await, critical("Timed out (50ms) running check"));
    let mut lost = daemon.check("0");
    lost.socket = "/nonexist/docker.sock".into();
    let outcome = lost.run().await;
    let start = "create exec failed for container 0: dial unix /nonexist/docker.sock: ";
    assert!(outcome.output.starts_with(start), "{}", outcome.output);
}

#[tokio::test]
async fn a_docker_check_keeps_the_end_of_its_output() {
    let daemon = Daemon::start();
    let mut check = daemon.check("0");
    check.output_bytes = 6;
    assert_eq!(check.run().await, passing("Captured 6 of 8 bytes\n...\nt\nerr\n"));
}
