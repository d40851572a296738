//! Why a stack did not come up.

use std::io;

use zcn_link::OpenError;
use zcn_pool::PoolError;
use zcn_stack::ConfigError;

/// Why a stack could not be brought up, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// The link could not be opened.
    #[error(transparent)]
    Link(#[from] OpenError),
    /// Addresses, routes or sizes make no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A setting is outside its range.
    #[error("{setting} {got} cannot be used: {range}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What was given.
        got: String,
        /// What can be used.
        range: &'static str,
    },
    /// The configuration file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The configuration file is not understood.
    #[error("{path} is not understood: {message}")]
    File {
        /// The file.
        path: String,
        /// Line, column and what is wrong there.
        message: String,
    },
    /// The capture file cannot be written.
    #[error(
        "cannot write the capture {path}: {source}; name a file in a folder that exists and that you may write to"
    )]
    Capture {
        /// The file.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Buffers to send from could not be had.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The kernel gave no random seed, descriptor or the like.
    #[error("cannot {action}: {source}")]
    Kernel {
        /// What was tried.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The link is gone: its device was removed or set down, or the other end dropped.
    #[error("the link is gone: {0}; bring its device up again and start anew")]
    LinkGone(#[source] io::Error),
}

impl StackError {
    /// The errno, when the kernel gave one.
    pub fn raw_os_error(&self) -> Option<i32> {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = source {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return error.raw_os_error();
            }
            source = error.source();
        }
        None
    }
}
