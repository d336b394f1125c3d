//! Runs health checks: does the I/O and tells what came of it.
//!
//! ```text
//! Work::of(definition)   what a definition asks for: runs, reports, or another's health
//! script  docker         a command, here or in a container
//! http  grpc  tcp        one run each: bounded in time and output, gone with everything it started
//! process                a command with everything that it starts
//! alias                  another service's or node's health, from checks that somebody else reads
//! dial  tls              connections, with the texts of Go's `net` package
//! ```
//!
//! When to run, thresholds and deadlines are `agent_core::health`'s; `crate::agent` joins the two.
//!
//! Source: <https://developer.hashicorp.com/consul/docs/services/usage/checks>.

pub mod alias;
mod dial;
pub mod docker;
pub mod grpc;
pub mod http;
pub mod process;
pub mod script;
pub mod tcp;

use crate::config::definition::CheckDefinition;
use agent_core::health::{Status, Tail};
use alias::Alias;
use docker::Docker;
use grpc::Grpc;
use http::Http;
use script::Script;
use std::time::Duration;
use tcp::Tcp;

pub use crate::tls::{Own, Verify};

/// Bytes of output kept for a check unless it is told otherwise, as in Consul.
pub const OUTPUT_BYTES_DEFAULT: usize = 4096;

/// Bytes of output kept for a check at most: what is beyond bloats the catalog on every server.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Time for one run of an HTTP or TCP check unless it is told otherwise.
const NETWORK_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for one run of a script unless it is told otherwise.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(30);

/// What a run found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// How the checked thing stands.
    pub status: Status,
    /// What it said.
    pub output: String,
}

impl Outcome {
    /// The checked thing could not be asked, or gave no answer.
    fn critical(output: impl Into<String>) -> Self {
        Self { status: Status::Critical, output: output.into() }
    }
}

/// What a definition asks the agent to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Work {
    /// Run this every so often.
    Run(Job),
    /// Wait for reports, at least this often.
    Ttl(agent_core::time::Duration),
    /// Copy another's health.
    Alias(Alias),
    /// Nothing: its status is set by hand.
    Nothing,
}

/// Something that can be run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Job {
    /// A command.
    Script(Script),
    /// An HTTP request.
    Http(Http),
    /// A TCP connection.
    Tcp(Tcp),
    /// A call of the gRPC health protocol.
    Grpc(Grpc),
    /// A command in a container.
    Docker(Docker),
}

impl Work {
    /// Finds out what a valid definition asks for. `output_bytes` is the agent's limit on output.
    pub fn of(definition: &CheckDefinition, output_bytes: usize) -> Self {
        let output_bytes = output_limit(definition, output_bytes);
        let timeout = |default| match definition.timeout {
            agent_core::time::Duration::ZERO => default,
            timeout => timeout.to_core(),
        };
        let verify = if definition.tls_skip_verify { Verify::Nothing } else { Verify::System };
        if !definition.grpc.is_empty() {
            Self::Run(Job::Grpc(Grpc {
                target: definition.grpc.clone(),
                tls: definition.grpc_use_tls.then_some(verify),
                own: None,
                timeout: timeout(NETWORK_TIMEOUT),
            }))
        } else if !definition.http.is_empty() {
            Self::Run(Job::Http(Http {
                url: definition.http.clone(),
                method: definition.method.clone(),
                header: definition.header.clone(),
                body: definition.body.clone(),
                verify,
                own: None,
                timeout: timeout(NETWORK_TIMEOUT),
                output_bytes,
            }))
        } else if !definition.tcp.is_empty() {
            let timeout = timeout(NETWORK_TIMEOUT);
            Self::Run(Job::Tcp(Tcp { target: definition.tcp.clone(), timeout }))
        } else if definition.is_alias() {
            Self::Alias(Alias {
                node: definition.alias_node.clone(),
                service_id: definition.alias_service.clone(),
            })
        } else if !definition.docker_container_id.is_empty() {
            Self::Run(Job::Docker(Docker {
                socket: docker::socket(),
                container: definition.docker_container_id.clone(),
                args: definition.args.clone(),
                timeout: timeout(SCRIPT_TIMEOUT),
                output_bytes,
            }))
        } else if definition.is_script() {
            Self::Run(Job::Script(Script {
                args: definition.args.clone(),
                timeout: timeout(SCRIPT_TIMEOUT),
                output_bytes,
            }))
        } else if definition.ttl > agent_core::time::Duration::ZERO {
            Self::Ttl(definition.ttl)
        } else {
            Self::Nothing
        }
    }
}

impl Work {
    /// Lets a check over TLS speak it as the agent does.
    pub fn speak_as(&mut self, agent: Option<Own>) {
        match self {
            Self::Run(Job::Http(http)) => http.own = agent,
            Self::Run(Job::Grpc(grpc)) => grpc.own = agent,
            Self::Run(Job::Script(_) | Job::Tcp(_) | Job::Docker(_))
            | Self::Ttl(_)
            | Self::Alias(_)
            | Self::Nothing => {}
        }
    }
}

/// Tells how many bytes of a check's output are kept.
pub fn output_limit(definition: &CheckDefinition, agent: usize) -> usize {
    match usize::try_from(definition.output_max_size) {
        Ok(0) | Err(_) => agent.clamp(1, OUTPUT_BYTES_MAX),
        Ok(own) => own.min(OUTPUT_BYTES_MAX),
    }
}

impl Job {
    /// Runs once. Dropping the future ends the run and everything it started.
    pub async fn run(&self) -> Outcome {
        match self {
            Self::Script(script) => script.run().await,
            Self::Http(http) => http.run().await,
            Self::Tcp(tcp) => tcp.run().await,
            Self::Grpc(grpc) => grpc.run().await,
            Self::Docker(docker) => docker.run().await,
        }
    }
}

/// Reads what a run kept of its output; bytes that are not UTF-8 are replaced.
fn text_of(tail: &Tail<Box<[u8]>>) -> String {
    let (front, back) = tail.pieces();
    let bytes = [front, back].concat();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Makes room for the last bytes of a run's output.
fn tail(output_bytes: usize) -> Tail<Box<[u8]>> {
    Tail::new(vec![0; output_bytes].into_boxed_slice())
}

/// Writes a time as Go does.
fn go_time(span: Duration) -> String {
    let nanos = i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
    agent_core::time::GoDuration(nanos).to_string()
}
