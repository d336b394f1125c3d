//! How a check stands.

use serde::{Deserialize, Serialize};

/// How a check stands, best first.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize, Hash,
)]
pub enum Status {
    /// Fit for use.
    Passing,
    /// Fit for use, with a complaint.
    Warning,
    /// Not fit for use; where every check starts unless told otherwise.
    #[default]
    Critical,
}

impl Status {
    /// Tells Consul's text for the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// Finds the status that Consul's text names.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Passing, Self::Warning, Self::Critical].into_iter().find(|s| s.as_str() == text)
    }
}
