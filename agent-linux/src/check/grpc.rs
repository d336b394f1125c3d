//! gRPC checks: what an application says of itself by the gRPC health protocol.
//!
//! Source: <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>.

use super::Outcome;
use super::dial;
use crate::tls::{self, Own, Verify};
use agent_core::health::Status;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, TE};
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

/// The method that is called.
const METHOD: &str = "/grpc.health.v1.Health/Check";

/// Bytes of an answer that are looked at: a status is two.
const ANSWER_BYTES_MAX: usize = 1024;

/// The status of something that serves.
const SERVING: u64 = 1;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// gRPC's names of its status codes, in their order.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// A gRPC check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grpc {
    /// `host:port`, or `host:port/service` for one service of the application.
    pub target: String,
    /// How to speak TLS; `None` for not at all.
    pub tls: Option<Verify>,
    /// The agent's own way to speak TLS, if it is to be used.
    pub own: Option<Own>,
    /// Time for the whole exchange.
    pub timeout: Duration,
}

impl Grpc {
    /// Asks once: serving is passing, anything else critical.
    pub async fn run(&self) -> Outcome {
        match tokio::time::timeout(self.timeout, self.ask()).await {
            Ok(Ok(true)) => Outcome {
                status: Status::Passing,
                output: format!("gRPC check {}: success", self.target),
            },
            Ok(Ok(false)) => Outcome::critical("gRPC application didn't report service healthy"),
            Ok(Err(fault)) => Outcome::critical(fault),
            Err(_) => Outcome::critical(fault("DeadlineExceeded", "context deadline exceeded")),
        }
    }

    /// Asks whether the application serves.
    async fn ask(&self) -> Result<bool, String> {
        let (address, service) = self.target.split_once('/').unwrap_or((&self.target, ""));
        let (host, port) = dial::split(address)
            .map_err(|why| unreachable(&format!("Error while dialing {why}")))?;
        let stream = dial::dial(host, port)
            .await
            .map_err(|why| unreachable(&format!("Error while dialing {why}")))?;
        let Some(verify) = self.tls else {
            return exchange(stream, "http", address, service).await;
        };
        let (name, config) = match &self.own {
            Some(own) => own.way(verify),
            None => {
                let name = ServerName::try_from(host.to_owned());
                (name.map_err(|error| untrusted(&error))?, tls::client(verify))
            }
        };
        let mut config = config.as_ref().clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, stream).await.map_err(|error| untrusted(&error))?;
        exchange(stream, "https", address, service).await
    }
}

/// Says that a call failed, as gRPC's Go library does.
fn fault(code: &str, why: &str) -> String {
    format!("rpc error: code = {code} desc = {why}")
}

fn unreachable(why: &str) -> String {
    fault("Unavailable", &format!("connection error: desc = \"transport: {why}\""))
}

fn untrusted(error: &dyn std::fmt::Display) -> String {
    unreachable(&format!("authentication handshake failed: {error}"))
}

/// Calls the method over a connection of its own.
async fn exchange<S>(
    stream: S,
    scheme: &str,
    authority: &str,
    service: &str,
) -> Result<bool, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let closed = |_| fault("Unavailable", "connection closed");
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(closed)?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("{scheme}://{authority}{METHOD}"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(Full::new(question(service)))
        .map_err(|error| fault("Internal", &error.to_string()))?;
    let call = async {
        let response = sender.send_request(request).await.map_err(closed)?;
        receive(response).await
    };
    tokio::pin!(call);
    tokio::select! {
        answer = &mut call => answer,
        _ = connection => call.await,
    }
}

/// Reads an answer: its message, and the status in its trailers or, without a message, its headers.
async fn receive(response: Response<Incoming>) -> Result<bool, String> {
    let (head, mut body) = response.into_parts();
    let mut message = BytesMut::new();
    let mut told = head.headers;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| fault("Unavailable", &error.to_string()))?;
        match frame.into_data() {
            Ok(data) if message.len() + data.len() > ANSWER_BYTES_MAX => {
                return Err(fault("ResourceExhausted", "the answer is too long"));
            }
            Ok(data) => message.put(data),
            Err(frame) => told.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    if !told.contains_key(STATUS) && !head.status.is_success() {
        let why = format!("unexpected HTTP status code received from server: {}", head.status);
        return Err(fault("Unknown", &why));
    }
    judge(&told)?;
    match status(&message) {
        Some(status) => Ok(status == SERVING),
        None => Err(fault("Internal", "damaged message")),
    }
}

/// Finds out whether a call succeeded.
fn judge(told: &HeaderMap) -> Result<(), String> {
    let text = |name| told.get(name).and_then(|value| value.to_str().ok());
    match text(STATUS) {
        Some("0") => Ok(()),
        Some(code) => {
            let known = code.parse().ok().and_then(|code: usize| CODES.get(code).copied());
            let code = known.map_or_else(|| format!("Code({code})"), str::to_owned);
            Err(fault(&code, &decoded(text(MESSAGE).unwrap_or(""))))
        }
        None => Err(fault("Internal", "server closed the stream without sending trailers")),
    }
}

/// Decodes the percent encoding of a status message; a broken escape is left as it is.
fn decoded(text: &str) -> String {
    let (mut plain, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(|_| first == b'%') {
            Some(byte) => {
                plain.push(byte);
                rest = &tail[2..];
            }
            None => {
                plain.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// Writes `HealthCheckRequest { service }`, in the frame of a message.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(1 << 3 | 2);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8(length as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put(message);
    frame.freeze()
}

/// Reads the status of a framed `HealthCheckResponse`; `None` if it is damaged. A status that is
/// not there is 0, unknown.
pub fn status(mut frame: &[u8]) -> Option<u64> {
    if frame.len() < 5 || frame.get_u8() != 0 || frame.get_u32() as usize != frame.len() {
        return None;
    }
    let mut status = 0;
    while !frame.is_empty() {
        let key = varint(&mut frame)?;
        match key & 7 {
            0 => {
                let value = varint(&mut frame)?;
                if key >> 3 == 1 {
                    status = value;
                }
            }
            1 => frame = frame.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut frame)?).ok()?;
                frame = frame.get(length..)?;
            }
            5 => frame = frame.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_name_the_service() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("ab")[..], [0, 0, 0, 0, 4, 10, 2, b'a', b'b']);
        let long = question(&"x".repeat(200));
        assert_eq!(&long[..8], [0, 0, 0, 0, 203, 10, 200, 1]);
    }

    #[test]
    fn a_status_is_read_and_damage_is_not() {
        for (frame, want) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], Some(1)),
            (&[0, 0, 0, 0, 0], Some(0)),
            (&[0, 0, 0, 0, 6, 18, 2, 0, 0, 8, 2], Some(2)),
            (&[0, 0, 0, 0, 3, 8, 1], None),
            (&[1, 0, 0, 0, 2, 8, 1], None),
            (&[0, 0, 0, 0, 2, 18, 9], None),
            (&[0, 0, 0, 0, 1, 8], None),
            (&[], None),
        ] {
            assert_eq!(status(frame), want, "{frame:?}");
        }
    }

    #[test]
    fn messages_are_decoded() {
        assert_eq!(decoded("a%20b%"), "a b%");
        assert_eq!(decoded("%zz%c3%a9"), "%zzé");
    }
}
