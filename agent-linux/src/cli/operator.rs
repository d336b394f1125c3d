//! `operator raft`: the servers of the quorum.

use serde::Deserialize;

use super::client::{delete, get};
use super::column::{LIST_GAP, layout, row};
use super::flag::{Flag, text};
use super::{Api, Call, Failure, Spec, Verb, failure};

/// Help of the family.
pub(super) const HELP: &str = "Usage: reeve operator <subcommand> [options]

  Provides tools for operators, such as those for the Raft subsystem. Use with
  care: improper use can lead to an outage and to loss of data.
";

/// Help of the family below it.
pub(super) const RAFT_HELP: &str = "Usage: reeve operator raft <subcommand> [options]

  Shows the servers of the Raft quorum and, in rare cases, recovers a quorum by
  removing servers that are gone.
";

/// Lists the quorum.
pub(super) struct ListPeers;
/// Removes a server from the quorum.
pub(super) struct RemovePeer;

const LIST: Spec = Spec {
    path: "operator raft list-peers",
    summary: "Display the current Raft peer configuration",
    help: " [options]

  Displays the current Raft peer configuration.

      $ reeve operator raft list-peers
",
    api: Api::Servers,
    flags: &[],
};

const REMOVE_FLAGS: &[Flag] = &[
    text("address", "Address of the server to remove, IP:port."),
    text("id", "ID of the server to remove."),
];

const REMOVE: Spec = Spec {
    path: "operator raft remove-peer",
    summary: "Remove a server from the Raft configuration",
    help: " [options]

  Removes a server from the Raft configuration. If it still shows in \"reeve
  members\", run \"reeve force-leave\" instead.

      $ reeve operator raft remove-peer -address=10.0.0.13:8300
",
    api: Api::Servers,
    flags: REMOVE_FLAGS,
};

/// The answer of `operator/raft/configuration`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Configuration {
    servers: Vec<Server>,
}

/// One server of it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Server {
    #[serde(rename = "ID")]
    id: String,
    node: String,
    address: String,
    leader: bool,
    protocol_version: String,
    voter: bool,
}

impl Verb for ListPeers {
    fn spec(&self) -> &'static Spec {
        &LIST
    }

    fn misparsed(&self) -> Option<&'static str> {
        Some("Failed to parse args: ")
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let fault = |error| {
            failure(format!("Error getting peers: Failed to retrieve raft configuration: {error}"))
        };
        let path = "/v1/operator/raft/configuration";
        let found: Configuration = call.client()?.json(get(path)).map_err(fault)?;
        let mut rows = vec![row(["Node", "ID", "Address", "State", "Voter", "RaftProtocol"])];
        for server in found.servers {
            let version = match server.protocol_version.as_str() {
                "" => "<=1",
                version => version,
            };
            rows.push(row([
                &server.node,
                &server.id,
                &server.address,
                if server.leader { "leader" } else { "follower" },
                if server.voter { "true" } else { "false" },
                version,
            ]));
        }
        call.say(layout(&rows, LIST_GAP))
    }
}

impl Verb for RemovePeer {
    fn spec(&self) -> &'static Spec {
        &REMOVE
    }

    fn misparsed(&self) -> Option<&'static str> {
        Some("Failed to parse args: ")
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let given = |name| call.given.text(name).filter(|text| !text.is_empty());
        let fault = |what: String| failure(format!("Error removing peer: {what}"));
        let request = delete("/v1/operator/raft/peer");
        let (request, done) = match (given("address"), given("id")) {
            (Some(_), Some(_)) => {
                return Err(fault("cannot give both an address and id".to_owned()));
            }
            (None, None) => {
                let what = "an address or id is required for the peer to remove";
                return Err(fault(what.to_owned()));
            }
            (Some(address), None) => {
                (request.with("address", address), format!("Removed peer with address {address:?}"))
            }
            (None, Some(id)) => (request.with("id", id), format!("Removed peer with id {id:?}")),
        };
        call.client()?.ok(request).map_err(|error| fault(error.to_string()))?;
        call.say(done)
    }
}
