//! Starting and ending a broker.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::Config;

/// A running broker.
#[derive(Debug)]
pub struct Broker {}

/// How a broker ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// Everything was flushed and the clean mark written.
    Clean,
    /// The shutdown was cut short; nothing acknowledged is lost, but the next start has to look.
    Unclean {
        /// What was not finished.
        reason: String,
    },
    /// A write or flush failed, or a storage thread died: the directory is not to be trusted by this run.
    Failed {
        /// The file concerned, if one is.
        file: Option<PathBuf>,
        /// What the system said.
        error: String,
    },
}

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Broker {
    /// Opens the data directory, recovers it, and serves.
    pub fn start(_config: Config) -> Result<Self, StartError> {
        todo!()
    }

    /// Where the broker listens, in the order of `listen`.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        todo!()
    }

    /// Asks for the end: drain, flush, clean mark. A second call ends at once.
    pub fn shutdown(&self) {
        todo!()
    }

    /// Waits until the broker has ended, and says how.
    pub fn wait(&self) -> Outcome {
        todo!()
    }
}
