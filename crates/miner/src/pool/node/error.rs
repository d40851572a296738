//! What goes wrong between a pool and its node.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// Why a call of a node failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The address of the node is none.
    #[error("{url:?} is no address of a node: {reason}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The file with user and password cannot be used.
    #[error("the node's cookie {}", path.display())]
    Cookie {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No connection, or it died.
    #[error(transparent)]
    Net(#[from] zcn::Error),
    /// The node did not answer in time.
    #[error("no answer from the node within {0:?}")]
    Timeout(Duration),
    /// Something else than HTTP came back, or nothing.
    #[error("the node's answer is no HTTP")]
    Http(#[from] hyper::Error),
    /// The answer is longer than any block.
    #[error("the node's answer is longer than {max} bytes")]
    TooLong {
        /// The bound.
        max: usize,
    },
    /// The node does not know the user or the password, or does not let this address in.
    #[error("the node refuses the user or the password (HTTP {status})")]
    Refused {
        /// 401 or 403.
        status: u16,
    },
    /// Another answer of HTTP without JSON in it, e.g. 503 of a node that has too much to do.
    #[error("the node answers {method} with HTTP {status}")]
    Status {
        /// What was called.
        method: &'static str,
        /// The status of HTTP.
        status: u16,
    },
    /// The answer is JSON of some other shape, or none.
    #[error("the node's answer to {method}")]
    Answer {
        /// What was called.
        method: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The node answers with an error.
    #[error("the node answers {method} with error {code}: {message}")]
    Call {
        /// What was called.
        method: &'static str,
        /// The node's number for it.
        code: i64,
        /// The node's words.
        message: String,
    },
    /// A field of a block template is not what it has to be.
    #[error("the {0} in the node's block template is none")]
    Field(&'static str),
    /// The node does not know an address of that form.
    #[error("{0:?} is no address on the node's chain")]
    Address(String),
}

/// The node starts up.
const WARMING_UP: i64 = -28;
/// The node has no peers yet.
const NOT_CONNECTED: i64 = -9;
/// The node is still fetching the chain.
const CATCHING_UP: i64 = -10;

impl NodeError {
    /// Whether the same call may succeed later without anybody doing anything: the node is
    /// away, busy, or not ready yet.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Net(_) | Self::Timeout(_) | Self::Http(_) => true,
            Self::Status { status, .. } => *status == 503,
            Self::Call { code, .. } => [WARMING_UP, NOT_CONNECTED, CATCHING_UP].contains(code),
            _ => false,
        }
    }

    /// What to do about it, where there is something that its text does not say.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Cookie { .. } => {
                Some("the node writes .cookie into its data folder while it runs")
            }
            Self::Refused { .. } => {
                Some("the cookie of the running node, or its rpcauth and rpcallowip")
            }
            Self::Call {
                code: NOT_CONNECTED,
                ..
            } => {
                Some("a node without peers hands out no templates; on regtest connect a second one")
            }
            _ => None,
        }
    }
}
