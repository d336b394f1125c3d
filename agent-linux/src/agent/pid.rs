//! The file that holds the process id while the agent runs.

use crate::config::Config;
use std::io;
use std::path::PathBuf;

/// The file, removed when dropped; none if none is wanted.
pub(super) struct PidFile(Option<PathBuf>);

impl PidFile {
    /// Writes the file that the configuration names.
    ///
    /// # Errors
    ///
    /// What writing says, with the path.
    pub(super) fn write(config: &Config) -> io::Result<Self> {
        let Some(path) = &config.pid_file else { return Ok(Self(None)) };
        std::fs::write(path, std::process::id().to_string()).map_err(|error| {
            io::Error::new(error.kind(), format!("pid_file: {}: {error}", path.display()))
        })?;
        Ok(Self(Some(path.clone())))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::warn!("could not remove pid file {}: {error}", path.display());
        }
    }
}
