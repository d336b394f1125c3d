//! The session that holds the lock: made, renewed for as long as the verb runs, ended.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use super::super::client::{Client, put};
use super::{Event, RETRY_PAUSE};

/// Time without renewal after which the servers may end it.
const TTL: Duration = Duration::from_secs(15);
/// Time between renewals, and for the answer to one.
const RENEWAL: Duration = Duration::from_secs(5);
/// Time without renewal after which it counts as lost: the child still has time to end before the
/// servers let anybody else have the lock.
const LOST_AFTER: Duration = Duration::from_secs(10);

const _: () = assert!(LOST_AFTER.as_secs() + super::KILL_GRACE.as_secs() <= TTL.as_secs());

/// A session of this process.
pub(super) struct Session {
    client: Arc<Client>,
    id: String,
}

#[derive(Deserialize)]
struct Created {
    #[serde(rename = "ID")]
    id: String,
}

impl Session {
    /// Makes a session that releases or deletes its keys when it ends.
    pub(super) fn create(client: &Arc<Client>, name: &str, behavior: &str) -> Result<Self, String> {
        let ttl = format!("{}s", TTL.as_secs());
        let body = json!({ "Name": name, "TTL": ttl, "Behavior": behavior }).to_string();
        let created: Created = client
            .json(put("/v1/session/create", body.as_bytes()))
            .map_err(|error| format!("failed to create session: {error}"))?;
        Ok(Self { client: Arc::clone(client), id: created.id })
    }

    /// Tells its id.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Renews it in a thread of its own; tells when it has ended, or may have.
    pub(super) fn keep(&self, sender: Sender<Event>) {
        let (client, path) = (Arc::clone(&self.client), format!("/v1/session/renew/{}", self.id));
        std::thread::spawn(move || {
            let (mut renewed, mut pause) = (Instant::now(), RENEWAL);
            loop {
                std::thread::sleep(pause);
                let asked = Instant::now();
                let request = put(path.as_str(), &[]).within(RENEWAL);
                match client.send(request).map(|answer| answer.code) {
                    Ok(200) => (renewed, pause) = (asked, RENEWAL),
                    Ok(404) => break,
                    Ok(_) | Err(_) if renewed.elapsed() >= LOST_AFTER => break,
                    Ok(_) | Err(_) => pause = RETRY_PAUSE,
                }
            }
            // The receiver is gone only when the process ends.
            let _ = sender.send(Event::Lost);
        });
    }

    /// Ends it. If nobody can be told, it ends by itself.
    pub(super) fn destroy(&self) {
        let request = put(format!("/v1/session/destroy/{}", self.id), &[]);
        let _ = self.client.send(request.within(TTL));
    }
}
