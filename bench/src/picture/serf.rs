//! Serf in place of agents: gossip alone, as Consul's pools are made of, with its own command line.

use super::{Agent, Picture, Role, guarded, launch, loopbacks};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

/// Where Serf takes commands.
const RPC_PORT: u16 = 8500;

impl Picture {
    /// Starts three agents that know each other.
    ///
    /// # Errors
    ///
    /// If one does not start or they do not find each other in time; they have been stopped.
    pub(crate) fn start_serf(binary: &Path) -> Result<Picture, String> {
        let mut picture = Picture::empty(None);
        let addresses = loopbacks(3)?;
        for (at, address) in addresses.iter().enumerate() {
            let name = format!("server{}", at + 1);
            let folder = picture.folder.join(&name);
            std::fs::create_dir_all(&folder).map_err(|error| format!("{folder:?}: {error}"))?;
            let mut words = guarded(binary);
            words.extend(words_of(&name, *address, addresses[0]));
            let (child, role) = (launch(&folder, &words)?, Role::Follower);
            picture.agents.push(Agent { role, address: *address, child, name, words });
        }
        picture.until("all members alive", |agents| {
            for agent in agents.iter() {
                let seen = alive(binary, agent.address)?;
                if seen != 3 {
                    return Err(format!("{} sees {seen} alive", agent.address));
                }
            }
            Ok(())
        })?;
        Ok(picture)
    }
}

/// What follows the program's name for an agent that joins another; its settings are Consul's.
pub(crate) fn words_of(name: &str, address: Ipv4Addr, peer: Ipv4Addr) -> Vec<String> {
    let mut words = ["agent", "-profile=lan", "-log-level=err", "-retry-interval=2s"]
        .map(str::to_owned)
        .to_vec();
    words.extend([
        format!("-node={name}"),
        format!("-bind={address}:8301"),
        format!("-rpc-addr={address}:{RPC_PORT}"),
        format!("-retry-join={peer}:8301"),
    ]);
    words
}

/// Counts the members that an agent shows alive.
///
/// # Errors
///
/// If it does not answer.
pub(crate) fn alive(binary: &Path, agent: Ipv4Addr) -> Result<usize, String> {
    let mut command = Command::new(binary);
    command.args(["members", "-status=alive", "-format=json"]);
    let output = command.arg(format!("-rpc-addr={agent}:{RPC_PORT}")).output();
    let output = output.map_err(|error| format!("{}: {error}", binary.display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let members: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    Ok(members["members"].as_array().map_or(0, Vec::len))
}
