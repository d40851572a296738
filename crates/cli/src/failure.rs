//! What the program says when it cannot do what it was asked.

use std::error::Error;
use std::fmt;
use std::io;

/// A failure of a subcommand: what could not be done, why, and what to do.
#[derive(Debug)]
pub struct Failure {
    what: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
    remedy: Option<String>,
    code: u8,
}

impl Failure {
    /// Names what could not be done, as in `cannot listen on 127.0.0.1:80`.
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            cause: None,
            remedy: None,
            code: 1,
        }
    }

    /// Names why; the whole chain of sources is shown.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Names what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// The exit code of the program, 1 unless said otherwise.
    pub fn exit_code(&self) -> u8 {
        self.code
    }

    /// Whether the reader of our output went away, which is no failure of
    /// ours (`zcn doctor | head -1`).
    pub fn is_closed_pipe(&self) -> bool {
        let mut cause: Option<&(dyn Error + 'static)> =
            self.cause.as_deref().map(|cause| cause as _);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return error.kind() == io::ErrorKind::BrokenPipe;
            }
            cause = error.source();
        }
        false
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zcn: {}", self.what)?;
        let mut cause: Option<&(dyn Error + 'static)> =
            self.cause.as_deref().map(|cause| cause as _);
        let mut said = String::new();
        while let Some(error) = cause {
            // Some errors quote their source in their own text.
            let text = error.to_string();
            if !said.contains(&text) {
                write!(f, ": {text}")?;
            }
            said = text;
            cause = error.source();
        }
        writeln!(f)?;
        if let Some(remedy) = &self.remedy {
            writeln!(f, "  try: {remedy}")?;
        }
        Ok(())
    }
}

impl Error for Failure {}

/// For `?` on writes to standard output. A closed pipe stays recognisable.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::new("cannot write the output").because(error)
    }
}

/// The error's own hint becomes the remedy.
impl From<zcn::Error> for Failure {
    fn from(error: zcn::Error) -> Self {
        let mut failure = Failure::new(format!("cannot {}", error.attempt()));
        if let Some(cause) = error.source() {
            failure = failure.because(cause.to_string());
        }
        match error.hint() {
            Some(hint) => failure.remedy(hint),
            None => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cause_and_remedy_are_shown() {
        let failure = Failure::new("cannot listen on 127.0.0.1:80")
            .because(io::Error::other("permission denied"))
            .remedy("a port above 1023");
        assert_eq!(
            failure.to_string(),
            "zcn: cannot listen on 127.0.0.1:80: permission denied\n  try: a port above 1023\n"
        );
        assert_eq!(failure.exit_code(), 1);
    }

    #[test]
    fn a_closed_pipe_is_recognised() {
        let closed = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(closed.is_closed_pipe());
        let full = Failure::from(io::Error::from(io::ErrorKind::StorageFull));
        assert!(!full.is_closed_pipe());
        assert!(!Failure::new("no cause").is_closed_pipe());
    }
}
