//! Docker checks: a command inside a container, by the daemon's exec API over its Unix socket.
//!
//! ```text
//! POST /containers/{id}/exec   what to run            -> its id
//! POST /exec/{id}/start        runs it                -> its output, in frames
//! GET  /exec/{id}/json         once the output ended  -> its exit code
//! ```
//!
//! Source: <https://docs.docker.com/engine/api/v1.40/#tag/Exec>.

use super::http::transfer;
use super::{Outcome, dial, go_time, tail, text_of};
use agent_core::health::{Status, Tail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;

/// Where the daemon listens unless `DOCKER_HOST` names another Unix socket.
const SOCKET: &str = "/var/run/docker.sock";

/// Bytes of an answer in JSON that are looked at.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Bytes before each frame of output: the stream's number, three zeros, the frame's length.
const FRAME_HEAD_BYTES: usize = 8;

/// A Docker check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Docker {
    /// The daemon's socket.
    pub socket: PathBuf,
    /// The container's id or name.
    pub container: String,
    /// The command and its arguments.
    pub args: Vec<String>,
    /// Time for the whole exchange.
    pub timeout: Duration,
    /// Bytes of output kept.
    pub output_bytes: usize,
}

/// Finds the daemon's socket. Only Unix sockets are spoken to.
pub fn socket() -> PathBuf {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    host.strip_prefix("unix://").unwrap_or(SOCKET).into()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    exit_code: i64,
}

impl Docker {
    /// Runs the command once: exit code 0 is passing, 1 warning, anything else critical.
    pub async fn run(&self) -> Outcome {
        match tokio::time::timeout(self.timeout, self.exec()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(fault)) => Outcome::critical(fault),
            Err(_) => {
                Outcome::critical(format!("Timed out ({}) running check", go_time(self.timeout)))
            }
        }
    }

    async fn exec(&self) -> Result<Outcome, String> {
        let id = self.create().await?;
        let output = self.start(&id).await?;
        let status = match self.exit_code(&id).await? {
            0 => Status::Passing,
            1 => Status::Warning,
            _ => Status::Critical,
        };
        let text = text_of(&output);
        let output = match output.overflowed() {
            true => {
                let total = output.written();
                format!("Captured {} of {total} bytes\n...\n{text}", self.output_bytes)
            }
            false => text,
        };
        Ok(Outcome { status, output })
    }

    async fn create(&self) -> Result<String, String> {
        let container = &self.container;
        let what = format!("create exec failed for container {container}");
        let body = json!({
            "AttachStdin": false, "AttachStdout": true, "AttachStderr": true, "Tty": false,
            "Cmd": self.args,
        });
        let path = format!("/containers/{}/exec", encoded(container));
        let (code, answer) = self.ask(&what, Method::POST, &path, &body).await?;
        match code {
            StatusCode::CREATED => {
                let created = serde_json::from_slice(&answer);
                let Created { id } = created.map_err(|error| format!("{what}: {error}"))?;
                Ok(id)
            }
            StatusCode::NOT_FOUND => {
                Err(format!("create exec failed for unknown container {container}"))
            }
            StatusCode::CONFLICT => {
                Err(format!("create exec failed since container {container} is paused or stopped"))
            }
            other => Err(unexpected(&what, other, &answer)),
        }
    }

    /// Runs what was created; answers the end of what it wrote.
    async fn start(&self, id: &str) -> Result<Tail<Box<[u8]>>, String> {
        let what = format!("start exec failed for container {}", self.container);
        let body = json!({ "Detach": false, "Tty": false });
        let path = format!("/exec/{}/start", encoded(id));
        let mut output = tail(self.output_bytes);
        let mut frames = Frames::default();
        let mut take = |data: &[u8]| frames.push(data, &mut output);
        let code = self.send(&what, Method::POST, &path, &body, &mut take).await?;
        match code {
            StatusCode::OK => Ok(output),
            other => Err(unexpected(&what, other, text_of(&output).as_bytes())),
        }
    }

    async fn exit_code(&self, id: &str) -> Result<i64, String> {
        let what = format!("inspect exec failed for container {}", self.container);
        let path = format!("/exec/{}/json", encoded(id));
        let (code, answer) = self.ask(&what, Method::GET, &path, &Value::Null).await?;
        if code != StatusCode::OK {
            return Err(unexpected(&what, code, &answer));
        }
        let inspected = serde_json::from_slice(&answer);
        let Inspected { exit_code } = inspected.map_err(|error| format!("{what}: {error}"))?;
        Ok(exit_code)
    }

    /// Sends a request whose answer is small.
    async fn ask(
        &self,
        what: &str,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<(StatusCode, Vec<u8>), String> {
        let mut answer = Vec::new();
        let mut take = |data: &[u8]| {
            let room = ANSWER_BYTES_MAX - answer.len();
            answer.extend_from_slice(&data[..data.len().min(room)]);
        };
        let code = self.send(what, method, path, body, &mut take).await?;
        Ok((code, answer))
    }

    /// Sends a request over a connection of its own.
    async fn send(
        &self,
        what: &str,
        method: Method,
        path: &str,
        body: &Value,
        take: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<StatusCode, String> {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "docker")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .body(Full::new(body))
            .map_err(|error| format!("{what}: {error}"))?;
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| {
            let socket = self.socket.display();
            format!("{what}: dial unix {socket}: {}", dial::go_fault(&error))
        })?;
        let answered = transfer(stream, request, take).await;
        let (code, _) = answered.map_err(|error| format!("{what}: {error}"))?;
        Ok(code)
    }
}

/// Says that the daemon refused.
fn unexpected(what: &str, code: StatusCode, answer: &[u8]) -> String {
    let answer = String::from_utf8_lossy(answer);
    format!("{what} with status {}: {answer}", code.as_u16())
}

/// Encodes an id for a path: what is not plain in one would lead elsewhere.
fn encoded(id: &str) -> String {
    let mut path = String::with_capacity(id.len());
    for byte in id.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => path.push(byte.into()),
            other => path.push_str(&format!("%{other:02X}")),
        }
    }
    path
}

/// Takes the frames off the output of a command without a terminal; what comes in no frame (a
/// terminal's output, a refusal) is taken as it is.
#[derive(Debug, Default)]
pub struct Frames {
    head: Vec<u8>,
    /// Bytes of the frame that are still to come.
    left: usize,
    bare: bool,
}

impl Frames {
    /// Takes the next bytes, however they were cut.
    pub fn push(&mut self, mut data: &[u8], output: &mut Tail<Box<[u8]>>) {
        while !data.is_empty() {
            if self.bare {
                output.push(data);
                return;
            }
            if self.left == 0 {
                let (head, rest) =
                    data.split_at(data.len().min(FRAME_HEAD_BYTES - self.head.len()));
                self.head.extend_from_slice(head);
                data = rest;
                match *self.head.as_slice() {
                    [0..=2, 0, 0, 0, a, b, c, d] => {
                        self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                        self.head.clear();
                    }
                    [0..=2] | [0..=2, 0] | [0..=2, 0, 0] | [0..=2, 0, 0, 0, ..] => {}
                    _ => {
                        self.bare = true;
                        output.push(&std::mem::take(&mut self.head));
                    }
                }
                continue;
            }
            let (frame, rest) = data.split_at(data.len().min(self.left));
            output.push(frame);
            self.left -= frame.len();
            data = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unframed(pieces: &[&[u8]]) -> String {
        let (mut frames, mut output) = (Frames::default(), tail(64));
        for piece in pieces {
            frames.push(piece, &mut output);
        }
        text_of(&output)
    }

    #[test]
    fn output_is_taken_out_of_its_frames_however_it_is_cut() {
        let stream = b"\x01\0\0\0\0\0\0\x06hello\n\x02\0\0\0\0\0\0\x04err\n\x01\0\0\0\0\0\0\0";
        for cut in 0..stream.len() {
            let (front, back) = stream.split_at(cut);
            assert_eq!(unframed(&[front, back]), "hello\nerr\n", "cut at {cut}");
        }
    }

    #[test]
    fn output_without_frames_is_taken_as_it_is() {
        assert_eq!(unframed(&[b"no such", b" exec"]), "no such exec");
        assert_eq!(unframed(&[b"\x01\0", b"x"]), "\x01\0x");
    }

    #[test]
    fn ids_cannot_lead_elsewhere() {
        assert_eq!(encoded("web_1.a-b"), "web_1.a-b");
        assert_eq!(encoded("../a?b"), "..%2Fa%3Fb");
    }
}
