//! Whether, and how, output is coloured.

use std::env;
use std::ffi::OsStr;

/// The few colours that the program uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// All is well.
    Green,
    /// Worth a look.
    Yellow,
    /// Broken.
    Red,
    /// Beside the point.
    Dim,
    /// A heading.
    Bold,
}

/// Whether the environment allows colour on a stream that is, or is not, a
/// terminal: `NO_COLOR` (set and not empty) and `TERM=dumb` forbid it.
pub fn wanted(is_terminal: bool) -> bool {
    allowed(
        is_terminal,
        env::var_os("NO_COLOR").as_deref(),
        env::var_os("TERM").as_deref(),
    )
}

fn allowed(is_terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    is_terminal && no_color.is_none_or(OsStr::is_empty) && term != Some(OsStr::new("dumb"))
}

/// `text` in `colour`, or as it is when `wanted` is false.
pub fn paint(wanted: bool, colour: Colour, text: &str) -> String {
    if !wanted {
        return text.to_owned();
    }
    let code = match colour {
        Colour::Green => 32,
        Colour::Yellow => 33,
        Colour::Red => 31,
        Colour::Dim => 2,
        Colour::Bold => 1,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_and_dumb_terminals_are_respected() {
        let some = |text: &'static str| Some(OsStr::new(text));
        assert!(allowed(true, None, some("xterm")));
        assert!(allowed(true, some(""), None));
        assert!(!allowed(true, some("1"), None));
        assert!(!allowed(true, None, some("dumb")));
        assert!(!allowed(false, None, None));
    }

    #[test]
    fn unwanted_colour_leaves_no_trace() {
        assert_eq!(paint(false, Colour::Red, "fail"), "fail");
        assert_eq!(paint(true, Colour::Red, "fail"), "\x1b[31mfail\x1b[0m");
    }
}
