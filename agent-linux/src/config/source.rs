//! What the user gave: files, directories, fragments and flags, read and merged as Consul does.

use std::path::PathBuf;

/// Where a configuration comes from; reading it again is a reload.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sources {
    /// Whether `-dev` was given.
    pub dev: bool,
    /// Files and directories, in the order given.
    pub paths: Vec<PathBuf>,
    /// Format of all files whatever their names.
    pub format: Option<Format>,
    /// Settings given as flags: key and text, in the order given.
    pub flags: Vec<(&'static str, String)>,
    /// Fragments of HCL, in the order given.
    pub fragments: Vec<String>,
}

/// Language of a configuration file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// HCL 1.
    Hcl,
    /// JSON.
    Json,
}
