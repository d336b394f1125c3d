//! Recovery from a lost quorum: `raft/peers.json`, which an operator writes.
//!
//! When more servers are lost than a quorum can spare, nobody can be elected, so nobody can change
//! the configuration either. The operator stops the servers that are left and tells each of them
//! who is to go on; on its next start each applies its whole log, committed or not, and keeps it as
//! a snapshot under that configuration. What the lost servers alone knew is lost.
//! Source:
//! <https://developer.hashicorp.com/consul/tutorials/datacenter-operations/recovery-outage>.

use super::Server;
use super::apply::Machine;
use super::disk;
use super::entry::{LogId, StoredMembership};
use super::log::{Change, Disk, Done, Fault, Found};
use openraft::Membership;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use tokio::sync::oneshot;

/// Name of the file.
const PEERS: &str = "peers.json";

/// Most bytes of it: a few servers.
const PEERS_BYTES_MAX: u64 = 1 << 20;

/// Bytes of entries that are read at once.
const READ_BYTES: usize = 1 << 20;

/// A server of the file: of raft protocol 3, or, by its address alone, of 2.
#[derive(Deserialize)]
#[serde(untagged)]
enum Peer {
    Named {
        /// Node UUID.
        id: String,
        /// `ip:port` for RPC.
        address: String,
        /// Whether it only listens.
        #[serde(default)]
        non_voter: bool,
    },
    Address(String),
}

/// Puts the file's configuration in place of the log's, if there is such a file, and removes it.
/// Blocks.
///
/// # Errors
///
/// [`Fault::Io`] for a file that makes no sense or names a server that the log does not know; then
/// nothing was changed.
pub(super) fn recover(
    dir: &Path,
    disk: &Disk,
    found: &mut Found,
    machine: &Machine,
) -> Result<(), Fault> {
    let path = dir.join(PEERS);
    let Some(peers) = read(&path)? else { return Ok(()) };
    tracing::info!("found peers.json file, recovering Raft configuration...");
    let refuse = |what: &str| Fault::Io(format!("recovery failed: {what}"));
    let last =
        found.last.ok_or_else(|| refuse("refused to recover cluster with no initial state"))?;
    let mut next = machine.applied().last.map_or(0, |last| last.index + 1);
    while next <= last.index {
        let entries = disk.read(next, last.index + 1, READ_BYTES)?;
        next += entries.len() as u64;
        let entries = entries.into_iter().map(|(entry, _)| entry);
        machine.apply_all(entries).map_err(|error| refuse(&error.to_string()))?;
    }
    let known = machine.applied().membership;
    let membership = configuration(&peers, known.membership()).map_err(|what| refuse(&what))?;
    machine.keep_under(StoredMembership::new(Some(last), membership))?;
    purge(disk, last)?;
    (found.purged, found.committed) = (Some(last), Some(last));
    fs::remove_file(&path)?;
    disk::sync_dir(dir)?;
    tracing::info!("deleted peers.json file after successful recovery");
    Ok(())
}

/// Reads the file; nothing if there is none.
fn read(path: &Path) -> Result<Option<Vec<Peer>>, Fault> {
    let refuse = |what: String| Fault::Io(format!("recovery failed to parse peers.json: {what}"));
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
        Ok(meta) if meta.len() > PEERS_BYTES_MAX => return Err(refuse("it is too long".into())),
        Ok(_) => {}
    }
    let peers = serde_json::from_slice(&fs::read(path)?);
    peers.map(Some).map_err(|error| refuse(error.to_string()))
}

/// Finds the servers of the file among those that the log knows.
fn configuration(
    peers: &[Peer],
    known: &Membership<u64, Server>,
) -> Result<Membership<u64, Server>, String> {
    let (mut voters, mut servers) = (BTreeSet::new(), BTreeMap::new());
    for peer in peers {
        let (name, address, votes) = match peer {
            Peer::Named { id, address, non_voter } => (id, address, !non_voter),
            Peer::Address(address) => (address, address, true),
        };
        let address = address.parse().map_err(|_| format!("{address:?} is no ip:port"))?;
        let found = known.nodes().find(|(_, server)| match peer {
            Peer::Named { id, .. } => server.node_id == *id,
            Peer::Address(_) => server.address == address,
        });
        let (id, server) = found.ok_or_else(|| format!("{name:?} is not known to the log"))?;
        if servers.insert(*id, Server { address, ..server.clone() }).is_some() {
            return Err(format!("{name:?} is listed twice"));
        }
        if votes {
            voters.insert(*id);
        }
    }
    match voters.is_empty() {
        true => Err("no server would vote".into()),
        false => Ok(Membership::new(vec![voters], servers)),
    }
}

/// Removes the entries that the snapshot has; it is current by now.
fn purge(disk: &Disk, upto: LogId) -> Result<(), Fault> {
    let (done, purged) = oneshot::channel();
    disk.submit(Change::Purge(upto), Done::Waiter(done));
    purged.blocking_recv().unwrap_or_else(|_| Err(Fault::Io("the log is closed".into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Membership<u64, Server> {
        let server = |n: u64| Server {
            id: n,
            node_id: format!("uuid-{n}"),
            name: format!("s{n}"),
            address: format!("10.0.0.{n}:8300").parse().unwrap(),
        };
        let all = BTreeMap::from([1, 2, 3].map(|n| (n, server(n))));
        Membership::new(vec![BTreeSet::from([1, 2, 3])], all)
    }

    fn with(file: &str) -> Result<Vec<(u64, String, bool)>, String> {
        let peers: Vec<Peer> = serde_json::from_str(file).map_err(|error| error.to_string())?;
        let new = configuration(&peers, &known())?;
        let votes = |id: u64| new.voter_ids().any(|voter| voter == id);
        Ok(new.nodes().map(|(id, s)| (*id, s.address.to_string(), votes(*id))).collect())
    }

    #[test]
    fn both_forms_of_the_file_are_read() {
        let both = [(1, "10.0.0.1:8300".into(), true), (3, "10.0.0.9:8300".into(), false)];
        let file = r#"[{"id":"uuid-1","address":"10.0.0.1:8300"},
            {"id":"uuid-3","address":"10.0.0.9:8300","non_voter":true}]"#;
        assert_eq!(with(file).unwrap(), both);
        assert_eq!(with(r#"["10.0.0.1:8300"]"#).unwrap(), both[..1]);
    }

    #[test]
    fn a_file_that_makes_no_sense_is_refused() {
        for (file, want) in [
            ("[]", "no server would vote"),
            (r#"["10.0.0.7:8300"]"#, r#""10.0.0.7:8300" is not known to the log"#),
            (r#"["nowhere"]"#, r#""nowhere" is no ip:port"#),
            (r#"["10.0.0.1:8300","10.0.0.1:8300"]"#, r#""10.0.0.1:8300" is listed twice"#),
            (
                r#"[{"id":"uuid-1","address":"10.0.0.1:8300","non_voter":true}]"#,
                "no server would vote",
            ),
        ] {
            assert_eq!(with(file).unwrap_err(), want, "{file}");
        }
        assert!(with("{").is_err() && with("[3]").is_err());
    }
}
