//! Gossip keys: where they come from and are kept, and questions about them to the whole pool.
//!
//! A keyring file wins over the key of the configuration, which is only how a ring begins: keys
//! are changed while the pool runs, and a restart must not turn that back.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use agent_core::gossip::identity::Identity;
use agent_core::gossip::seal::query::{Answer, Fault, KEYS_MAX, KeyBytes, Message, Op};
use agent_core::gossip::seal::{
    DATAGRAM_BYTES_MAX, Drops, Key, Keyring, Nonces, Refused, Sealer, Strictness,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::sync::mpsc;

use super::driver::Inner;
use crate::config::field::go_base64;

/// Runs of other members that are remembered against replay.
const SENDERS: usize = 512;

/// Least time between two lines in the log about one kind of dropped message.
const DROP_LOG_PERIOD: Duration = Duration::from_secs(10);

/// Time after which a question that was not answered is sent again.
const ASK_PERIOD: Duration = Duration::from_millis(400);

/// Questions sent in a row, and the pause after them: bursts overrun the buffers of small members.
const ASKS_PER_BURST: usize = 64;
const BURST_PAUSE: Duration = Duration::from_millis(5);

/// Serf's time for a question, in rounds of gossip times the digits of the pool's size.
const ASK_ROUNDS: u32 = 16;

/// What an agent without keys says, to be read and to be changed.
const EMPTY: &str = "Keyring is empty (encryption not enabled)";
const NOTHING: &str = "No keyring to modify (encryption not enabled)";

/// The keys of a pool, as an agent starts with them.
#[derive(Clone, Debug)]
pub struct Keys {
    ring: Keyring<KEYS_MAX>,
    file: Option<PathBuf>,
    strictness: Strictness,
}

impl Keys {
    /// Finds the keys: in the file if there is one, else the key given, which then goes into the
    /// file. Nothing if there is neither. The other answer is whether the file lacks the key given.
    ///
    /// # Errors
    ///
    /// Consul's words for a key or a file that is no good, or what the file system says.
    pub fn load(
        file: Option<PathBuf>,
        given: Option<&str>,
        strictness: Strictness,
    ) -> io::Result<Option<(Self, bool)>> {
        let given = given.map(|text| {
            let bytes = go_base64(text).map_err(io::Error::other)?;
            Key::new(&bytes).map_err(|error| io::Error::other(format!("Invalid key: {error}")))
        });
        let given = given.transpose()?;
        let kept = file.as_deref().map(read).transpose()?.flatten();
        match (kept, given) {
            (Some(ring), given) => {
                let lacks = given.is_some_and(|given| !ring.keys().any(|key| *key == given));
                Ok(Some((Self { ring, file, strictness }, lacks)))
            }
            (None, Some(key)) => {
                let ring = Keyring::new(key);
                if let Some(file) = &file {
                    write(file, &ring)?;
                }
                Ok(Some((Self { ring, file, strictness }, false)))
            }
            (None, None) => Ok(None),
        }
    }
}

/// Reads a keyring file: a JSON list of keys, the primary first. Nothing if there is no file.
fn read(path: &Path) -> io::Result<Option<Keyring<KEYS_MAX>>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io::Error::other(format!("{}: {error}", path.display()))),
    };
    let keys: Vec<String> = serde_json::from_str(&text)
        .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
    let mut ring: Option<Keyring<KEYS_MAX>> = None;
    for text in keys {
        let key =
            Key::new(&go_base64(&text).map_err(io::Error::other)?).map_err(io::Error::other)?;
        match &mut ring {
            None => ring = Some(Keyring::new(key)),
            Some(ring) => ring.install(key).map_err(io::Error::other)?,
        }
    }
    let none = || io::Error::other(format!("no keys present in keyring: {}", path.display()));
    ring.ok_or_else(none).map(Some)
}

/// Writes a keyring file, for the owner only, whole or not at all.
fn write(path: &Path, ring: &Keyring<KEYS_MAX>) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let keys: Vec<String> = ring.keys().map(|key| BASE64.encode(key.as_bytes())).collect();
    let text = serde_json::to_vec_pretty(&keys)?;
    let new = path.with_extension("keyring.new");
    let mut file = fs::OpenOptions::new();
    let mut file = file.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// What seals and opens, as the tasks of a pool share it.
pub(super) struct Seal {
    sealer: Mutex<Box<Sealer<KEYS_MAX, SENDERS>>>,
    file: Option<PathBuf>,
    told: Mutex<BTreeMap<&'static str, Instant>>,
}

impl Seal {
    /// Starts with keys; `start` is a number that no other start of this node had.
    pub(super) fn new(keys: Keys, node: u64, start: u64) -> Self {
        let Keys { ring, file, strictness } = keys;
        let sealer = Sealer::new(ring, Nonces::new(node, start), strictness);
        Self { sealer: Mutex::new(Box::new(sealer)), file, told: Mutex::default() }
    }

    /// Calls the sealer, also after a panic elsewhere: it keeps no promise that a panic breaks.
    pub(super) fn with<T>(&self, call: impl FnOnce(&mut Sealer<KEYS_MAX, SENDERS>) -> T) -> T {
        call(&mut self.sealer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn drops(&self) -> Drops {
        self.with(|sealer| sealer.drops())
    }

    /// Logs a message that was dropped, each kind not too often: anybody can send them.
    pub(super) fn tell_drop(&self, pool: &str, from: SocketAddr, why: Refused) {
        let text = match why {
            Refused::Plaintext => "Encryption is configured but remote state is not encrypted",
            Refused::UnknownKey => "No installed keys could decrypt the message",
            Refused::Forged => "The message was damaged, or not made with the key that it names",
            // Networks duplicate, and noise is noise; both are counted.
            Refused::Replayed | Refused::Malformed => return,
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if told.get(text).is_none_or(|at| now.duration_since(*at) >= DROP_LOG_PERIOD) {
            told.insert(text, now);
            tracing::error!("{pool}: failed to receive: {text} from={from}");
        }
    }

    /// Does to our own ring what is asked, and keeps it.
    fn obey(&self, pool: &str, op: &Op) -> Result<(), Fault> {
        let (result, ring) = self.with(|sealer| (sealer.obey(op), sealer.ring().clone()));
        let (name, doing) = match op {
            Op::List => ("list-keys", "list keys"),
            Op::Install(_) => ("install-key", "install key"),
            Op::Use(_) => ("use-key", "change primary key"),
            Op::Remove(_) => ("remove-key", "remove key"),
        };
        tracing::info!("{pool}: Received {name} query");
        let changed = result.inspect_err(|fault| {
            tracing::error!("{pool}: Failed to {doing}: {fault}");
        })?;
        if let Some(file) = self.file.as_deref().filter(|_| changed) {
            write(file, &ring).map_err(|error| {
                tracing::error!("{pool}: Failed to write keyring file: {error}");
                Fault::Storage
            })?;
        }
        Ok(())
    }
}

/// Open questions of ours, by number.
pub(super) type Questions = Mutex<BTreeMap<u64, mpsc::Sender<Answer>>>;

/// Answers that may wait to be read; more are asked for again.
const ANSWERS_MAX: usize = 256;

/// What a pool said about its keys.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Members that were asked, ourselves included.
    pub nodes: usize,
    /// Members that answered.
    pub answers: usize,
    /// Why some did not do it, by name.
    pub faults: BTreeMap<String, String>,
    /// Keys in base64, and how many hold them.
    pub keys: BTreeMap<String, usize>,
    /// Keys that seal, and for how many.
    pub primary_keys: BTreeMap<String, usize>,
}

impl Report {
    /// Counts the answer of one member.
    fn take(&mut self, name: String, fault: Option<String>, keys: Vec<&[u8]>) {
        self.answers += 1;
        if let Some(fault) = fault {
            self.faults.insert(name, fault);
            return;
        }
        let mut texts = keys.into_iter().map(|key| BASE64.encode(key));
        if let Some(primary) = texts.next() {
            *self.primary_keys.entry(primary.clone()).or_default() += 1;
            *self.keys.entry(primary).or_default() += 1;
        }
        for key in texts {
            *self.keys.entry(key).or_default() += 1;
        }
    }
}

/// Takes a question or an answer that was opened; answers with what is to be sent back.
pub(super) fn handle(inner: &Inner, seal: &Seal, own: Identity, body: &[u8]) -> Option<Vec<u8>> {
    match Message::parse(body)? {
        Message::Answer(answer) => {
            let questions = inner.questions.lock().unwrap_or_else(PoisonError::into_inner);
            // A full channel loses an answer; the question is sent again.
            let _ = questions.get(&answer.id)?.try_send(answer);
            None
        }
        Message::Ask { target, id, op } => {
            if target != own {
                return None;
            }
            let fault = seal.obey(inner.name, &op).err();
            let keys = seal.with(|sealer| sealer.list());
            let answer = Message::Answer(Answer { id, node: own.node, fault, keys });
            let mut out = vec![0; DATAGRAM_BYTES_MAX];
            let len = seal.with(|sealer| sealer.seal_query(&answer, &mut out))?;
            out.truncate(len);
            Some(out)
        }
    }
}

/// Asks every living member, ourselves last: who changes the sealing key first would not be
/// understood by those who still lack it.
pub(super) async fn ask(inner: &Inner, op: Op) -> Report {
    let mut report = Report::default();
    let (own_name, others) = inner.living();
    report.nodes = others.len() + 1;
    let Some(seal) = &inner.seal else {
        // Nobody who has a key could be in a pool without: all of them would say the same.
        let text = if op == Op::List { EMPTY } else { NOTHING };
        for name in others.into_iter().map(|(_, name)| name).chain([own_name]) {
            report.take(name, Some(text.to_owned()), Vec::new());
        }
        return report;
    };
    let id = uuid::Uuid::new_v4().as_u64_pair().0;
    let (sender, mut answers) = mpsc::channel(ANSWERS_MAX);
    inner.questions.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
    let digits = (report.nodes.max(1).ilog10() + 1).max(1);
    let round = inner.gossip_period();
    let deadline = tokio::time::Instant::now() + round * ASK_ROUNDS * digits;
    let mut waiting: BTreeMap<u64, (Identity, String)> =
        others.into_iter().map(|(identity, name)| (identity.node, (identity, name))).collect();
    while !waiting.is_empty() && tokio::time::Instant::now() < deadline {
        for (at, (target, _)) in waiting.values().enumerate() {
            let message = Message::Ask { target: *target, id, op: op.clone() };
            let mut out = [0; DATAGRAM_BYTES_MAX];
            if let Some(len) = seal.with(|sealer| sealer.seal_query(&message, &mut out)) {
                inner.send(&out[..len], target.address.socket());
            }
            if (at + 1).is_multiple_of(ASKS_PER_BURST) {
                tokio::time::sleep(BURST_PAUSE).await;
            }
        }
        let again = (tokio::time::Instant::now() + ASK_PERIOD).min(deadline);
        while !waiting.is_empty() {
            let Ok(Some(answer)) = tokio::time::timeout_at(again, answers.recv()).await else {
                break;
            };
            if let Some((_, name)) = waiting.remove(&answer.node) {
                let fault = answer.fault.map(|fault| fault.to_string());
                report.take(name, fault, answer.keys.iter().map(|key| &key[..]).collect());
            }
        }
    }
    inner.questions.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    let fault = seal.obey(inner.name, &op).err().map(|fault| fault.to_string());
    let keys = seal.with(|sealer| sealer.list());
    report.take(own_name, fault, keys.iter().map(|key| &key[..]).collect());
    report
}

/// Reads a key of a question from base64.
///
/// # Errors
///
/// Go's words for what is no base64.
pub fn key(text: &str) -> Result<KeyBytes, String> {
    go_base64(text).map(|bytes| Op::key(&bytes))
}
