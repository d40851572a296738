//! Why a pool does not take something.

use std::fmt;

use crate::json::Value;

/// What a refusal comes down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectReason {
    /// The job is over, or the pool does not know it.
    Stale,
    /// The share was submitted before.
    Duplicate,
    /// The hash is above the target.
    LowDifficulty,
    /// The worker is not authorised.
    Unauthorized,
    /// The connection has not subscribed.
    NotSubscribed,
    /// A field is not what it has to be: time, nonce, version bits, their number.
    Malformed,
    /// Anything else.
    Other,
}

impl RejectReason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Stale,
        Self::Duplicate,
        Self::LowDifficulty,
        Self::Unauthorized,
        Self::NotSubscribed,
        Self::Malformed,
        Self::Other,
    ];

    /// The code of the classic table, which most pools use.
    pub fn code(self) -> i64 {
        match self {
            Self::Stale => 21,
            Self::Duplicate => 22,
            Self::LowDifficulty => 23,
            Self::Unauthorized => 24,
            Self::NotSubscribed => 25,
            Self::Malformed | Self::Other => 20,
        }
    }

    /// What is written beside the code.
    pub fn text(self) -> &'static str {
        match self {
            Self::Stale => "Job not found (=stale)",
            Self::Duplicate => "Duplicate share",
            Self::LowDifficulty => "Low difficulty share",
            Self::Unauthorized => "Unauthorized worker",
            Self::NotSubscribed => "Not subscribed",
            Self::Malformed => "Malformed request",
            Self::Other => "Other/Unknown",
        }
    }

    /// By the words where there are any that say it, then by the code: of codes there are two
    /// tables, the classic one (20 to 25) and that of ckpool and its kin (small and negative).
    fn classify(code: Option<i64>, text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if says(&[
            "stale",
            "job not found",
            "unknown job",
            "invalid job",
            "no job",
        ]) {
            Self::Stale
        } else if says(&["duplicate"]) {
            Self::Duplicate
        } else if says(&[
            "low diff",
            "above target",
            "high-hash",
            "high hash",
            "difficulty too low",
        ]) {
            Self::LowDifficulty
        } else if says(&[
            "unauthorized",
            "unauthorised",
            "not authorized",
            "not authorised",
        ]) {
            Self::Unauthorized
        } else if says(&["not subscribed"]) {
            Self::NotSubscribed
        } else if says(&["malformed", "invalid", "out of range"]) {
            Self::Malformed
        } else {
            match code {
                Some(21 | 1 | 2) => Self::Stale,
                Some(22 | 4) => Self::Duplicate,
                Some(23 | 5) => Self::LowDifficulty,
                Some(24) => Self::Unauthorized,
                Some(25) => Self::NotSubscribed,
                Some(3 | 6 | i64::MIN..=-1) => Self::Malformed,
                _ => Self::Other,
            }
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stale => "stale",
            Self::Duplicate => "duplicate",
            Self::LowDifficulty => "low difficulty",
            Self::Unauthorized => "unauthorised",
            Self::NotSubscribed => "not subscribed",
            Self::Malformed => "malformed",
            Self::Other => "other",
        })
    }
}

/// A refusal as the pool said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// What it comes down to.
    pub reason: RejectReason,
    /// The pool's code, if it gave one.
    pub code: Option<i64>,
    /// The pool's words, cut off at 256 bytes; may be empty.
    pub text: String,
}

/// How much of a pool's words is kept.
pub(crate) const MAX_WORDS: usize = 256;

impl Rejection {
    /// Reads the member `error` of an answer, in all the forms that pools write: an array of
    /// code and words, an object, words alone, `true`; and words that stand elsewhere.
    pub(crate) fn read(error: Value<'_>, elsewhere: Option<String>) -> Self {
        let (code, text) = match error {
            Value::Array(mut array) => (
                array.next().and_then(Value::as_i64),
                array.next().and_then(Value::as_text),
            ),
            Value::Object(object) => (
                object.get("code").and_then(Value::as_i64),
                object.get("message").and_then(Value::as_text),
            ),
            Value::Number(number) => (number.as_i64(), None),
            other => (None, other.as_text()),
        };
        let text = text.map(|text| text.to_str().into_owned());
        let text = cut(text.or(elsewhere).unwrap_or_default());
        let reason = RejectReason::classify(code, &text);
        Self { reason, code, text }
    }
}

/// Cuts words off where they become too long.
pub(crate) fn cut(mut text: String) -> String {
    let end = (0..=MAX_WORDS.min(text.len()))
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0);
    text.truncate(end);
    text
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)?;
        match (&*self.text, self.code) {
            ("", None) => Ok(()),
            ("", Some(code)) => write!(f, " (code {code})"),
            (text, None) => write!(f, " ({text:?})"),
            (text, Some(code)) => write!(f, " ({text:?}, code {code})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(error: &str) -> Rejection {
        Rejection::read(Value::parse(error.as_bytes()).expect("JSON"), None)
    }

    #[test]
    fn every_form_and_both_tables_of_codes_are_understood() {
        use RejectReason::*;
        for (error, reason) in [
            (r#"[21,"Job not found",null]"#, Stale),
            (r#"[22,"Duplicate share",null]"#, Duplicate),
            (r#"[23,"Low difficulty share of 0.01",null]"#, LowDifficulty),
            (r#"[24,"Unauthorized worker",null]"#, Unauthorized),
            (r#"[25,"Not subscribed",null]"#, NotSubscribed),
            (r#"[20,"Other/Unknown",null]"#, Other),
            (r#"[20,"Stale share",null]"#, Stale),
            (r#"{"code":2,"message":"x"}"#, Stale),
            (r#"{"code":4,"message":""}"#, Duplicate),
            (r#"[5,null]"#, LowDifficulty),
            (r#"[-3,"bad nonce length"]"#, Malformed),
            (r#""Above target""#, LowDifficulty),
            ("true", Other),
            ("[]", Other),
            ("{}", Other),
            ("23", LowDifficulty),
        ] {
            assert_eq!(read(error).reason, reason, "{error}");
        }
    }

    #[test]
    fn our_own_words_are_understood() {
        for reason in RejectReason::ALL {
            let read = RejectReason::classify(Some(reason.code()), reason.text());
            assert_eq!(read, reason);
        }
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        let long = read(&format!("\"a{}\"", "é".repeat(1000)));
        assert_eq!(long.text.len(), 255);
    }
}
