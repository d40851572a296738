//! The verdict of one probe, in the shape in which it is shown.

use std::fmt;

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// As it should be.
    Ok,
    /// It could not be found out.
    Unknown,
    /// zcn runs, but slower or with a part missing.
    Warn,
    /// zcn cannot run at all.
    Fail,
}

impl Status {
    /// The status as one lower-case word.
    pub fn word(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Unknown => "unknown",
            Status::Warn => "warn",
            Status::Fail => "fail",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What one probe found and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The dotted name: group first, as in `ring.access`.
    pub name: &'static str,
    /// How it ended.
    pub status: Status,
    /// What was found, in words and numbers.
    pub value: String,
    /// What to do about it; `None` when there is nothing to do.
    pub remedy: Option<String>,
}

impl Check {
    /// A probe that found what it should.
    pub fn ok(name: &'static str, value: impl Into<String>) -> Self {
        Self::new(name, Status::Ok, value.into(), None)
    }

    /// A probe that could not find out, and why.
    pub fn unknown(name: &'static str, value: impl Into<String>) -> Self {
        Self::new(name, Status::Unknown, value.into(), None)
    }

    /// A probe that found something slower or missing, and what to do.
    pub fn warn(name: &'static str, value: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(name, Status::Warn, value.into(), Some(remedy.into()))
    }

    /// A probe that found what stops zcn altogether, and what to do.
    pub fn fail(name: &'static str, value: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(name, Status::Fail, value.into(), Some(remedy.into()))
    }

    /// The part of the name before the dot.
    pub fn group(&self) -> &'static str {
        self.name
            .split_once('.')
            .map_or(self.name, |(group, _)| group)
    }

    fn new(name: &'static str, status: Status, value: String, remedy: Option<String>) -> Self {
        Self {
            name,
            status,
            value,
            remedy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_what_stands_before_the_dot() {
        assert_eq!(Check::ok("ring.access", "allowed").group(), "ring");
        assert_eq!(Check::ok("kernel", "6.18").group(), "kernel");
    }

    #[test]
    fn statuses_are_ordered_by_gravity() {
        assert!(Status::Ok < Status::Unknown && Status::Unknown < Status::Warn);
        assert!(Status::Warn < Status::Fail);
    }
}
