//! The key/value store: rows, writes, reads.

use super::{Index, Stamp};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A key and what is stored under it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Entry {
    /// The key: UTF-8, not empty, no leading `/` over HTTP.
    pub key: String,
    /// Any bytes, at most `kv_max_value_size` (512 KiB).
    #[serde(with = "super::bytes")]
    pub value: Vec<u8>,
    /// The client's own 64 bits.
    pub flags: u64,
    /// How often the key was locked.
    pub lock_index: u64,
    /// The session that holds the lock, or empty.
    pub session: String,
    /// When the row was made and changed.
    pub stamp: Stamp,
}

/// A write to the key/value store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Op {
    /// Stores the value whatever is there.
    Set(Put),
    /// Stores the value if the key's modify index is still `index` (0: if the key is absent).
    Cas(Put, Index),
    /// Stores the value and takes the lock for `session`.
    Acquire(Put, String),
    /// Stores the value and gives the lock of `session` up.
    Release(Put, String),
    /// Removes a key.
    Delete(String),
    /// Removes a key if its modify index is still `index`.
    DeleteCas(String, Index),
    /// Removes every key that starts with the prefix.
    DeleteTree(String),
    /// Forgets the graves of keys deleted at or before the index.
    Reap(Index),
}

impl Op {
    /// Tells the key or prefix that it is about; empty for none.
    pub fn key(&self) -> &str {
        match self {
            Self::Set(put) | Self::Cas(put, _) | Self::Acquire(put, _) | Self::Release(put, _) => {
                &put.key
            }
            Self::Delete(key) | Self::DeleteCas(key, _) | Self::DeleteTree(key) => key,
            Self::Reap(_) => "",
        }
    }

    /// Tells the value that it stores, if it stores one.
    pub fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Set(put) | Self::Cas(put, _) | Self::Acquire(put, _) | Self::Release(put, _) => {
                Some(&put.value)
            }
            Self::Delete(_) | Self::DeleteCas(..) | Self::DeleteTree(_) | Self::Reap(_) => None,
        }
    }
}

/// What a write stores.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Put {
    /// The key.
    pub key: String,
    /// The value.
    #[serde(with = "super::bytes")]
    pub value: Vec<u8>,
    /// The client's own 64 bits.
    pub flags: u64,
}

/// A read of the key/value store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Query {
    /// One key.
    Get(String),
    /// Every entry whose key starts with the prefix, in byte order.
    List(String),
    /// Every key that starts with the prefix; with a separator, cut after its first occurrence.
    Keys {
        /// What keys start with.
        prefix: String,
        /// Where keys are cut, or empty.
        separator: String,
    },
}

/// What a read found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The key's entry, if there is one.
    Entry(Option<Arc<Entry>>),
    /// Entries in key order.
    Entries(Vec<Arc<Entry>>),
    /// Keys in order.
    Keys(Vec<String>),
}
