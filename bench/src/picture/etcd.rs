//! etcd in place of agents, for the work that it does too: servers alone, with the port for their
//! clients where agents have HTTP. It is asked through its JSON gateway, which is part of it.

use super::{Agent, Picture, Role, guarded, launch, loopbacks};
use crate::client::Http;
use serde_json::{Value, json};
use std::path::Path;

impl Picture {
    /// Starts members of etcd and waits until all name the same leader.
    ///
    /// # Errors
    ///
    /// If one does not start or they do not find each other in time; they have been stopped.
    pub(crate) fn start_etcd(binary: &Path, servers: usize) -> Result<Picture, String> {
        let mut picture = Picture::empty(None);
        let addresses = loopbacks(servers)?;
        let name = |at: usize| format!("server{}", at + 1);
        let peer = |(at, address)| format!("{}=http://{address}:8300", name(at));
        let cluster = addresses.iter().enumerate().map(peer).collect::<Vec<_>>().join(",");
        for (at, address) in addresses.iter().enumerate() {
            let folder = picture.folder.join(name(at));
            std::fs::create_dir_all(&folder).map_err(|error| format!("{folder:?}: {error}"))?;
            let (client, raft) =
                (format!("http://{address}:8500"), format!("http://{address}:8300"));
            let mut words = guarded(binary);
            for (flag, value) in [
                ("name", name(at).as_str()),
                ("data-dir", &folder.join("data").to_string_lossy()),
                ("listen-client-urls", &client),
                ("advertise-client-urls", &client),
                ("listen-peer-urls", &raft),
                ("initial-advertise-peer-urls", &raft),
                ("initial-cluster", &cluster),
                ("log-level", "error"),
            ] {
                words.push(format!("--{flag}={value}"));
            }
            let child = launch(&folder, &words)?;
            let (role, address) = (Role::Follower, *address);
            picture.agents.push(Agent { role, address, child, name: name(at), words });
        }
        picture.until("one leader", |agents| {
            for agent in agents.iter_mut() {
                let status = ask(agent, "maintenance/status", &json!({}))?;
                let leads = status["leader"] == status["header"]["member_id"];
                agent.role = if leads { Role::Leader } else { Role::Follower };
            }
            let leads = |agent: &&Agent| agent.role == Role::Leader;
            let leaders = agents.iter().filter(leads).count();
            (leaders == 1).then_some(()).ok_or(format!("{leaders} lead"))
        })?;
        Ok(picture)
    }
}

/// Asks a member's gateway.
///
/// # Errors
///
/// If it does not answer with a 200 and JSON.
pub(crate) fn ask(agent: &Agent, method: &str, body: &Value) -> Result<Value, String> {
    let path = format!("/v3/{method}");
    let answer = Http::new(agent.http()).ask("POST", &path, body.to_string().as_bytes())?;
    serde_json::from_slice(&answer).map_err(|error| error.to_string())
}
