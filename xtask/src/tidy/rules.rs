//! The rules themselves. Each takes a file's path and text.
//!
//! What is looked for is spelled in two halves, so that this file passes its
//! own rules.

use std::fmt;

/// Folders of the machines of developers, which mean nothing elsewhere.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
];

/// Servers and settings of package registries: a checkout must build with
/// whatever registry its user has.
const REGISTRIES: &[&str] = &[
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("replace", "-with"),
    concat!("pypi.", "org"),
    concat!("registry.", "npmjs.org"),
    concat!("deb.", "debian.org"),
];

/// What marks work that is not done.
const UNFINISHED: &[&str] = &[
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
    concat!("X", "XX"),
    concat!("#[ig", "nore"),
];

const UNSAFE: &str = concat!("uns", "afe");
pub(super) const ALLOWANCE: &str = concat!("allow(uns", "afe_code)");
/// How far above its block a reason may stand.
const REASON_LINES: usize = 10;
/// How far down the head of a file reaches.
const HEAD_LINES: usize = 80;

/// A broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Every rule that the file breaks, and where.
pub(super) fn faults(path: &str, text: &str) -> Vec<Fault> {
    let mut found = Vec::new();
    let mut note = |index: usize, what: String| {
        found.push(Fault {
            path: path.to_owned(),
            line: index + 1,
            what,
        });
    };
    words(path, text, &mut note);
    if path.ends_with(".rs") {
        allowances(path, text, &mut note);
        reasons(text, &mut note);
    }
    if !text.is_empty() && !text.ends_with('\n') {
        note(text.lines().count() - 1, "no newline at the end".to_owned());
    }
    found
}

/// Words that stand in no file.
fn words(path: &str, text: &str, note: &mut impl FnMut(usize, String)) {
    // The lock file names the public index, as every lock file does.
    let lock = path.ends_with("Cargo.lock");
    for (index, line) in text.lines().enumerate() {
        for word in MACHINE_PATHS {
            if line.contains(word) {
                note(index, format!("{word} is a path of one machine"));
            }
        }
        for word in REGISTRIES.iter().filter(|_| !lock) {
            if line.contains(word) {
                note(index, format!("{word} belongs to the user's own settings"));
            }
        }
        for word in UNFINISHED.iter().filter(|_| !lock) {
            if line.contains(word) {
                note(index, format!("{word} marks unfinished work"));
            }
        }
    }
}

/// Where the lint on unsafe code is lifted: at the head of a module, for the
/// whole of it, and never for a whole library; or right above the declaration
/// of a function that is unsafe to call, for that alone.
fn allowances(path: &str, text: &str, note: &mut impl FnMut(usize, String)) {
    let lines: Vec<&str> = text.lines().map(code).collect();
    let mut head = false;
    let mut used = None;
    let mut declares = false;
    for (index, line) in lines.iter().enumerate() {
        let declared = std::mem::take(&mut declares);
        if line.contains(ALLOWANCE) {
            let inner = line.trim_start().starts_with("#![");
            let placed = inner && index < HEAD_LINES;
            declares = !inner
                && lines
                    .get(index + 1)
                    .is_some_and(|next| follows_unsafe(next, "fn"));
            if inner && path.ends_with("src/lib.rs") {
                note(
                    index,
                    format!("{ALLOWANCE} in a whole library: name the files"),
                );
            } else if !declares && !placed {
                note(
                    index,
                    format!("{ALLOWANCE} stands at the head of a file only"),
                );
            }
            head |= inner;
        } else if used.is_none() && is_unsafe(line) && !declared {
            used = Some(index);
        }
    }
    if let (Some(index), false) = (used, head) {
        note(
            index,
            format!("no #![{ALLOWANCE}] at the head of this file"),
        );
    }
}

/// Each block and implementation says why it is sound.
fn reasons(text: &str, note: &mut impl FnMut(usize, String)) {
    let lines: Vec<&str> = text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let opens = ["{", "impl"]
            .iter()
            .any(|what| follows_unsafe(code(line), what));
        let above = index.saturating_sub(REASON_LINES);
        if opens
            && !lines[above..=index]
                .iter()
                .any(|line| line.contains("SAFETY:"))
        {
            note(
                index,
                format!("{UNSAFE} without a SAFETY: comment above it"),
            );
        }
    }
}

/// A line without its comment. A `//` inside a string cuts too much, which
/// no rule here minds.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or(line)
}

/// Whether the keyword is used, not merely part of a name or a string.
fn is_unsafe(line: &str) -> bool {
    ["{", "impl", "fn", "extern", "trait"]
        .iter()
        .any(|what| follows_unsafe(line, what))
}

fn follows_unsafe(line: &str, what: &str) -> bool {
    line.split_once(UNSAFE).is_some_and(|(before, after)| {
        let word = before
            .chars()
            .next_back()
            .is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '"');
        word && after.starts_with(' ') && after.trim_start().starts_with(what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(path: &str, text: &str) -> Vec<String> {
        faults(path, text)
            .into_iter()
            .map(|fault| fault.what)
            .collect()
    }

    #[test]
    fn a_clean_file_passes() {
        let text = format!(
            "//! A file.\n\n#![{ALLOWANCE}]\n\nfn f() {{\n    // SAFETY: it is so.\n    \
             {UNSAFE} {{ g() }}\n}}\n"
        );
        assert_eq!(whats("crates/a/src/b.rs", &text), Vec::<String>::new());
        assert_eq!(whats("README.md", "# zcn\n"), Vec::<String>::new());
        assert_eq!(whats("empty", ""), Vec::<String>::new());
    }

    #[test]
    fn machine_paths_and_registries_are_found_in_any_file() {
        for word in MACHINE_PATHS.iter().chain(REGISTRIES) {
            let found = faults("docs/a.md", &format!("one\nsee {word}b\n"));
            assert_eq!(found.len(), 1, "{word}");
            assert_eq!(found[0].line, 2);
            assert!(found[0].to_string().starts_with("docs/a.md:2: "));
        }
    }

    #[test]
    fn unfinished_work_is_found() {
        for word in UNFINISHED {
            assert_eq!(whats("a.rs", &format!("// {word}\n")).len(), 1, "{word}");
        }
    }

    #[test]
    fn a_block_without_a_reason_is_found() {
        let head = format!("#![{ALLOWANCE}]\n");
        for opening in ["{ g() }", "impl Send for A {}"] {
            let bare = format!("{head}{UNSAFE} {opening}\n");
            let found = whats("a.rs", &bare);
            assert_eq!(found.len(), 1, "{opening}");
            assert!(found[0].contains("SAFETY"), "{found:?}");
        }
        let far = format!(
            "{head}// SAFETY: too far\n{}{UNSAFE} {{ g() }}\n",
            "\n".repeat(20)
        );
        assert_eq!(whats("a.rs", &far).len(), 1);
    }

    #[test]
    fn unsafe_code_needs_the_allowance_at_the_head() {
        let text = format!("// SAFETY: it is so.\n{UNSAFE} {{ g() }}\n");
        let found = whats("crates/a/src/b.rs", &text);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("at the head of this file"), "{found:?}");

        let outer = format!("#[{ALLOWANCE}]\nfn f() {{}}\n");
        assert_eq!(whats("crates/a/src/b.rs", &outer).len(), 1);

        let whole = format!("#![{ALLOWANCE}]\n");
        assert_eq!(whats("crates/a/src/lib.rs", &whole).len(), 1);

        let late = format!("{}#![{ALLOWANCE}]\n", "\n".repeat(100));
        assert_eq!(whats("crates/a/src/b.rs", &late).len(), 1);
    }

    #[test]
    fn a_function_that_is_unsafe_to_call_may_be_declared_anywhere() {
        let declared = format!("#[{ALLOWANCE}]\npub {UNSAFE} fn f() {{}}\n");
        assert_eq!(whats("crates/a/src/b.rs", &declared), Vec::<String>::new());
        let with_block = format!("{declared}// SAFETY: it is so.\n{UNSAFE} {{ g() }}\n");
        assert_eq!(whats("crates/a/src/b.rs", &with_block).len(), 1);
    }

    #[test]
    fn words_that_only_look_like_it_pass() {
        let text = format!("// {UNSAFE} {{ in a comment }}\nlet a = \"{UNSAFE} {{\";\n");
        assert_eq!(whats("a.rs", &text), Vec::<String>::new());
        let name = format!("fn not_{UNSAFE} () {{}}\n");
        assert_eq!(whats("a.rs", &name), Vec::<String>::new());
    }

    #[test]
    fn a_missing_newline_at_the_end_is_found() {
        assert_eq!(whats("a.md", "one\ntwo").len(), 1);
    }
}
