//! Snapshot files in Consul's container: a gzipped tar of three members.
//!
//! ```text
//! meta.json    what the snapshot is of
//! state.bin    the state: the store's own format, see store::snapshot
//! SHA256SUMS   a line for each of the others, as sha256sum writes them
//! ```
//!
//! `bundle` packs any directory. Writing and reading stream. What was read counts only once
//! [`read`] has returned: the sums come last.
//! Source: <https://developer.hashicorp.com/consul/commands/snapshot>.

mod bundle;
mod tar;

pub use bundle::bundle;

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use ring::digest::{Context, Digest, SHA256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::{self, BufRead, ErrorKind, Read, Write};

const META: &str = "meta.json";
const STATE: &str = "state.bin";
const SUMS: &str = "SHA256SUMS";

/// Most bytes of `meta.json`: a few servers.
const META_BYTES_MAX: u64 = 1 << 20;
/// Most bytes of `SHA256SUMS`: a line for each member.
const SUMS_BYTES_MAX: u64 = 4 << 10;

/// What a snapshot is of, as `meta.json` says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Meta {
    /// Version of the container, 1.
    pub version: u32,
    /// Term, index and time in milliseconds since 1970.
    #[serde(rename = "ID")]
    pub id: String,
    /// The index of the last change.
    pub index: u64,
    /// The raft term.
    pub term: u64,
    /// The servers.
    pub configuration: Configuration,
    /// Bytes of `state.bin`.
    pub size: u64,
}

/// The servers of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Configuration {
    /// Each of them.
    pub servers: Vec<Server>,
}

/// A server of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Server {
    /// 0 for a voter, 1 for a server that does not vote.
    pub suffrage: u8,
    /// Node UUID.
    #[serde(rename = "ID")]
    pub id: String,
    /// `ip:port` for RPC.
    pub address: String,
}

/// Why a file is no sound snapshot; the words are Consul's.
#[derive(Debug)]
pub enum Error {
    /// It is not compressed, or the compressed data is damaged.
    Compression(&'static str),
    /// The members of the archive cannot be read.
    Members(io::Error),
    /// A member does not belong there.
    Foreign(String),
    /// `meta.json` makes no sense.
    Meta(String),
    /// The state cannot be read, or whoever took it refused it.
    State(io::Error),
    /// A member is not what its sum says, or the sums make no sense.
    Integrity(String),
    /// Something follows the archive.
    Tail,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = "failed to read snapshot file";
        match self {
            Self::Compression(what) => write!(f, "failed to decompress snapshot: {what}"),
            Self::Members(error) => write!(f, "{file}: failed reading snapshot: {}", go(error)),
            Self::Foreign(name) => write!(f, "{file}: unexpected file {name:?} in snapshot"),
            Self::Meta(what) => write!(f, "{file}: failed to decode snapshot metadata: {what}"),
            Self::State(error) => {
                write!(f, "{file}: failed to read or write snapshot data: {}", go(error))
            }
            Self::Integrity(what) => {
                write!(f, "{file}: failed checking integrity of snapshot: {what}")
            }
            Self::Tail => write!(f, "{file}: data after the end"),
        }
    }
}

impl std::error::Error for Error {}

/// Words an error of a stream as Go does.
fn go(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => "unexpected EOF".to_owned(),
        _ => error.to_string(),
    }
}

/// Writes a snapshot: [`begin`](Self::begin), [`add`](Self::add) as often as it takes,
/// [`end`](Self::end). Each hands out what is compressed so far.
pub struct Writer {
    out: GzEncoder<Vec<u8>>,
    state: Context,
    sums: String,
    size: u64,
    /// Bytes of the state that are still to come.
    left: u64,
    unix_seconds: u64,
}

impl Writer {
    /// Starts with what the snapshot is of; `meta.size` bytes of state follow.
    ///
    /// # Errors
    ///
    /// None that a vector gives.
    pub fn begin(meta: &Meta, unix_seconds: u64) -> io::Result<Self> {
        let mut text = serde_json::to_vec(meta)?;
        text.push(b'\n');
        let mut writer = Self {
            out: GzEncoder::new(Vec::new(), Compression::fast()),
            state: Context::new(&SHA256),
            sums: String::new(),
            size: meta.size,
            left: meta.size,
            unix_seconds,
        };
        writer.member(META, &text)?;
        note(&mut writer.sums, META, ring::digest::digest(&SHA256, &text));
        writer.out.write_all(&tar::head(STATE, meta.size, unix_seconds))?;
        Ok(writer)
    }

    /// Adds to the state; hands out what can be sent.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for more state than was announced.
    pub fn add(&mut self, state: &[u8]) -> io::Result<Vec<u8>> {
        let left = self.left.checked_sub(state.len() as u64);
        self.left = left.ok_or(ErrorKind::InvalidInput)?;
        self.state.update(state);
        self.out.write_all(state)?;
        Ok(std::mem::take(self.out.get_mut()))
    }

    /// Ends the archive; hands out the rest.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for less state than was announced.
    pub fn end(mut self) -> io::Result<Vec<u8>> {
        if self.left > 0 {
            return Err(ErrorKind::InvalidInput.into());
        }
        self.out.write_all(&[0; tar::BLOCK][..tar::padding(self.size)])?;
        note(&mut self.sums, STATE, self.state.clone().finish());
        let sums = std::mem::take(&mut self.sums);
        self.member(SUMS, sums.as_bytes())?;
        self.out.write_all(&tar::END)?;
        self.out.finish()
    }

    fn member(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let size = bytes.len() as u64;
        self.out.write_all(&tar::head(name, size, self.unix_seconds))?;
        self.out.write_all(bytes)?;
        self.out.write_all(&[0; tar::BLOCK][..tar::padding(size)])
    }
}

/// Adds a line to the sums.
fn note(sums: &mut String, name: &str, digest: Digest) {
    for byte in digest.as_ref() {
        write!(sums, "{byte:02x}").expect("a string takes all");
    }
    writeln!(sums, "  {name}").expect("a string takes all");
}

/// Who takes the state while a snapshot is read.
pub type Taker<'a> = &'a mut dyn FnMut(&mut dyn Read) -> io::Result<()>;

/// Reads a snapshot and hands the state to `take` as it comes; what it leaves is read and summed
/// all the same.
///
/// # Errors
///
/// [`Error`]; then what `take` was given counts for nothing.
pub fn read(mut from: impl BufRead, take: Taker<'_>) -> Result<Meta, Error> {
    match from.fill_buf().map_err(Error::State)? {
        [] => return Err(Error::Compression("EOF")),
        [0x1f, 0x8b, ..] => {}
        // What cannot even be a whole head of RFC 1952.
        short if short.len() < 10 => return Err(Error::Compression("unexpected EOF")),
        _ => return Err(Error::Compression("gzip: invalid header")),
    }
    let mut plain = GzDecoder::new(from);
    let found = Found::read(&mut plain, take)?;
    let mut from = plain.into_inner();
    match from.fill_buf() {
        Ok([]) => {}
        Ok(_) => return Err(Error::Tail),
        Err(error) => return Err(Error::State(error)),
    }
    found.check()
}

/// What an archive held.
#[derive(Default)]
struct Found {
    meta: Meta,
    sums: Vec<u8>,
    digests: BTreeMap<&'static str, Digest>,
}

impl Found {
    /// Reads every member.
    fn read(from: &mut dyn Read, take: Taker<'_>) -> Result<Self, Error> {
        let mut found = Self::default();
        while let Some((name, size)) = tar::next(from).map_err(stream)? {
            match name.as_str() {
                META => {
                    let text = member(from, size, META_BYTES_MAX)?;
                    found.digests.insert(META, ring::digest::digest(&SHA256, &text));
                    found.meta = serde_json::from_slice(&text)
                        .map_err(|error| Error::Meta(error.to_string()))?;
                }
                STATE => {
                    let mut state =
                        Summed { from: &mut *from, left: size, sum: Context::new(&SHA256) };
                    take(&mut state).map_err(Error::State)?;
                    io::copy(&mut state, &mut io::sink()).map_err(Error::State)?;
                    let (left, sum) = (state.left, state.sum.finish());
                    if left > 0 {
                        return Err(Error::State(ErrorKind::UnexpectedEof.into()));
                    }
                    if found.digests.insert(STATE, sum).is_some() {
                        return Err(Error::Foreign(name));
                    }
                }
                SUMS => found.sums = member(from, size, SUMS_BYTES_MAX)?,
                _ => return Err(Error::Foreign(name)),
            }
            tar::skip_padding(from, size).map_err(Error::Members)?;
        }
        Ok(found)
    }

    /// Compares the members with their sums.
    fn check(self) -> Result<Meta, Error> {
        let bad = |what: String| Error::Integrity(what);
        let sums = String::from_utf8_lossy(&self.sums);
        let mut listed = BTreeMap::new();
        for line in sums.lines() {
            let (sum, name) = line
                .split_once("  ")
                .ok_or_else(|| bad(format!("a line of {SUMS} makes no sense")))?;
            listed.insert(name, sum);
        }
        for name in [META, STATE] {
            let missing = || bad(format!("file missing for {name:?}"));
            let sum = listed.remove(name).ok_or_else(missing)?;
            let digest = self.digests.get(name).ok_or_else(missing)?;
            let mut found = String::new();
            note(&mut found, name, *digest);
            if found.split_once(' ').map(|(hex, _)| hex) != Some(sum) {
                return Err(bad(format!("hash check failed for {name:?}")));
            }
        }
        match listed.pop_first() {
            None => Ok(self.meta),
            Some((name, _)) => Err(bad(format!("file missing for {name:?}"))),
        }
    }
}

/// Reads a short member.
fn member(from: &mut dyn Read, size: u64, bytes_max: u64) -> Result<Vec<u8>, Error> {
    if size > bytes_max {
        return Err(Error::Members(io::Error::new(ErrorKind::InvalidData, "a member is too long")));
    }
    let mut bytes = Vec::new();
    from.take(size).read_to_end(&mut bytes).map_err(stream)?;
    if (bytes.len() as u64) < size {
        return Err(Error::Members(ErrorKind::UnexpectedEof.into()));
    }
    Ok(bytes)
}

/// Tells damage of the compressed data from that of the archive.
fn stream(error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::InvalidInput => Error::Compression("gzip: invalid checksum"),
        _ => Error::Members(error),
    }
}

/// Sums up what is read of a member.
struct Summed<'a> {
    from: &'a mut dyn Read,
    left: u64,
    sum: Context,
}

impl Read for Summed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.from.read(&mut buffer[..length])?;
        self.sum.update(&buffer[..count]);
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
