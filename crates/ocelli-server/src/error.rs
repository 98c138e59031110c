//! Why a server does not start.

use std::net::SocketAddr;

/// Everything that can keep a server from starting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that cannot be.
    #[error("{0}")]
    Settings(String),
    /// The address is not free, or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The system refuses threads or sockets.
    #[error("cannot start the server: {0}")]
    System(std::io::Error),
    /// The system refuses even the few threads that a server needs.
    #[error("threads of the server: {0}, need a few more. Raise the limit of threads or of memory")]
    NoThread(#[source] std::io::Error),
    /// The first model cannot be loaded.
    #[error(transparent)]
    Model(#[from] ocelli::Error),
}
