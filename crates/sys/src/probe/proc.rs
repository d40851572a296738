//! Reading the small text files of `/proc` and `/sys`.

use std::fs;

/// The content of a file without the white space around it; `None` when it
/// cannot be read (absent on this kernel, or hidden by a container).
pub(crate) fn text(path: &str) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|content| content.trim().to_owned())
}

/// The content of a file that holds one number.
pub(crate) fn number(path: &str) -> Option<u64> {
    text(path)?.parse().ok()
}

/// The value behind `key:` in a file of `key: value` lines.
pub(crate) fn field<'a>(content: &'a str, key: &str) -> Option<&'a str> {
    content.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

/// The numbers of a kernel list such as `0-3,8,10-11`; `None` when it is no
/// such list.
pub(crate) fn list(content: &str) -> Option<Vec<usize>> {
    let mut numbers = Vec::new();
    for part in content.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().ok()?;
        let last: usize = last.trim().parse().ok()?;
        if last < first || last - first > 65_536 {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores() {
        assert_eq!(list("0-3,8,10-11\n"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(list(""), Some(vec![]));
        assert_eq!(list("5"), Some(vec![5]));
        assert_eq!(list("3-1"), None);
        assert_eq!(list("0-99999999999"), None);
        assert_eq!(list("all"), None);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let content = "HugePages_Total:      16\nHugePages_Free:        4\nnonsense\n";
        assert_eq!(field(content, "HugePages_Free"), Some("4"));
        assert_eq!(field(content, "HugePages"), None);
    }
}
