//! A job's line as pools write it, decoded while it is read.
//!
//! Most of the time from a job's packet to its first hash goes into its line. The general way
//! ([`FromPool::parse`](crate::message::FromPool::parse), [`Job::assign`]) looks at every byte
//! twice: it checks the line as JSON, and decodes the fields that it has found. Here a field is
//! decoded where it stands: what turns out to be hexadecimal digits up to a quote is a string
//! without escapes. Whatever is unusual is left to the general way, which also says what is wrong
//! with a line.

use crate::hex;
use crate::inline::JobId;
use crate::job::{Job, MAX_BRANCHES, swap_words};

impl Job {
    /// Takes over the job of a line with no other members than `id`, which is `null`, `method` and
    /// `params`, each once and in any order, and with the nine parameters of a job. `None` for any
    /// other line, good or bad: the job is not to be used then.
    pub(crate) fn read_line(&mut self, line: &[u8]) -> Option<()> {
        let mut at = Cursor(line);
        let (mut id, mut method, mut params) = (false, false, false);
        at.take(b'{')?;
        loop {
            let seen = if at.literal(br#""params""#).is_some() {
                at.take(b':')?;
                self.read_params(&mut at)?;
                &mut params
            } else if at.literal(br#""method""#).is_some() {
                at.take(b':')?;
                at.literal(br#""mining.notify""#)?;
                &mut method
            } else {
                at.literal(br#""id""#)?;
                at.take(b':')?;
                at.literal(b"null")?;
                &mut id
            };
            if std::mem::replace(seen, true) {
                return None;
            }
            if at.take(b',').is_none() {
                break;
            }
        }
        at.take(b'}')?;
        at.skip_space();
        (method && params && at.0.is_empty()).then_some(())
    }

    fn read_params(&mut self, at: &mut Cursor<'_>) -> Option<()> {
        at.take(b'[')?;
        let id = at.text()?;
        let plain = |&byte: &u8| byte >= b' ' && byte != b'\\';
        if id.is_empty() || !id.iter().all(plain) {
            return None;
        }
        self.id = JobId::new(id)?;
        at.take(b',')?;
        self.prev_hash = swap_words(at.hash()?);
        for part in [&mut self.coinbase_1, &mut self.coinbase_2] {
            at.take(b',')?;
            part.clear();
            hex::decode_onto(at.text()?, part).ok()?;
        }
        at.take(b',')?;
        at.take(b'[')?;
        self.branches.clear();
        if at.take(b']').is_none() {
            loop {
                let branch = at.hash()?;
                if self.branches.len() == MAX_BRANCHES {
                    return None;
                }
                self.branches.push(branch);
                if at.take(b',').is_none() {
                    break;
                }
            }
            at.take(b']')?;
        }
        for number in [&mut self.version, &mut self.nbits, &mut self.ntime] {
            at.take(b',')?;
            *number = hex::decode_u32(at.digits::<8>()?).ok()?;
        }
        at.take(b',')?;
        self.clean = at.literal(b"true").is_some();
        if !self.clean {
            at.literal(b"false")?;
        }
        at.take(b']')
    }
}

/// What is left of a line.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// Takes `byte`, white space before it passed over.
    #[inline]
    fn take(&mut self, byte: u8) -> Option<()> {
        if self.0.first() != Some(&byte) {
            self.skip_space();
        }
        self.literal(&[byte])
    }

    /// Takes what `word` says, white space before it passed over.
    #[inline]
    fn literal<const N: usize>(&mut self, word: &[u8; N]) -> Option<()> {
        if let Some(b' ' | b'\t' | b'\n' | b'\r') = self.0.first() {
            self.skip_space();
        }
        self.0 = self.0.strip_prefix(word)?;
        Some(())
    }

    /// White space of JSON (RFC 8259, section 2).
    #[cold]
    fn skip_space(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.0 {
            self.0 = rest;
        }
    }

    /// What stands between two quotes, which may have anything in it but a quote.
    #[inline]
    fn text(&mut self) -> Option<&'a [u8]> {
        self.literal(b"\"")?;
        let (text, rest) = self.0.split_at(memchr::memchr(b'"', self.0)?);
        self.0 = &rest[1..];
        Some(text)
    }

    /// So many bytes between two quotes.
    #[inline]
    fn digits<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        self.literal(b"\"")?;
        let (digits, rest) = self.0.split_first_chunk()?;
        self.0 = rest.strip_prefix(b"\"")?;
        Some(digits)
    }

    #[inline]
    fn hash(&mut self) -> Option<[u8; 32]> {
        hex::decode_array(self.digits::<64>()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::{FromPool, write};

    /// The job of a line the general way.
    fn general(line: &[u8]) -> Option<Job> {
        let (FromPool::Notify(notify), _) = FromPool::parse(line).ok()? else {
            return None;
        };
        let mut job = Job::default();
        job.assign(&notify).ok()?;
        Some(job)
    }

    /// A job that had other things in it before.
    fn used() -> Job {
        Job {
            id: JobId::new(b"before").expect("short"),
            coinbase_1: vec![9; 99],
            coinbase_2: vec![9; 9],
            branches: vec![[9; 32]; 9],
            ..Job::default()
        }
    }

    fn fast(line: &[u8]) -> Option<Job> {
        let mut job = used();
        job.read_line(line).map(|()| job)
    }

    prop_compose! {
        fn any_job()(
            id in "[ !#-\\[\\]-~\u{e4}]{1,20}",
            prev_hash: [u8; 32],
            coinbase_1 in prop::collection::vec(any::<u8>(), 0..100),
            coinbase_2 in prop::collection::vec(any::<u8>(), 0..100),
            branches in prop::collection::vec(any::<[u8; 32]>(), 0..=MAX_BRANCHES),
            [version, nbits, ntime] in any::<[u32; 3]>(),
            clean: bool,
        ) -> Job {
            let id = JobId::new(id.as_bytes()).expect("short");
            Job { id, prev_hash, coinbase_1, coinbase_2, branches, version, nbits, ntime, clean }
        }
    }

    /// The members of a job's line, as `write` and other pools put them.
    fn line_of(job: &Job, order: [usize; 3], space: &str) -> String {
        let mut line = Vec::new();
        write::notify(&mut line, job);
        let line = String::from_utf8(line).expect("text");
        let params = line.split_once(r#""params":"#).expect("parameters").1;
        let params = params.trim_end().strip_suffix('}').expect("an object");
        let members = [
            ("id", "null"),
            ("method", r#""mining.notify""#),
            ("params", params),
        ];
        let members: Vec<_> = order
            .iter()
            .map(|&i| format!(r#""{}":{space}{}"#, members[i].0, members[i].1))
            .collect();
        let comma = format!(",{space}");
        let line = format!("{{{}}}", members.join(&comma));
        // Between parameters, too; a name may have such a thing in it.
        match job.id.as_bytes().contains(&b',') {
            true => line,
            false => line.replace(",\"", &format!(",{space}\"")),
        }
    }

    proptest! {
        #[test]
        fn jobs_as_pools_write_them_are_taken(
            job in any_job(),
            order in Just([0, 1, 2]).prop_shuffle(),
            space in prop::sample::select(vec!["", " ", "\t\r\n  "]),
            capital: bool,
        ) {
            let mut line = line_of(&job, order, space);
            if capital {
                // Digits alone, of which no member has any but the parameters.
                line = line.replace("ab", "AB").replace("cd", "Cd");
            }
            let read = fast(line.as_bytes());
            prop_assert_eq!(&read, &general(line.as_bytes()), "{}", line);
            prop_assert!(read.is_some(), "{}", line);
            if !capital {
                prop_assert_eq!(read.as_ref(), Some(&job));
            }
        }

        #[test]
        fn what_is_taken_is_what_the_general_way_reads(
            job in any_job(),
            order in Just([0, 1, 2]).prop_shuffle(),
            at: prop::sample::Index,
            cut in 0..3usize,
            put in prop::collection::vec(
                prop::sample::select(b"\"\\,:[]{} \t\n\x0b\x0c\x7f\x00\xff0aFgxnt".to_vec()),
                0..3,
            ),
        ) {
            let mut line = line_of(&job, order, " ").into_bytes();
            let at = at.index(line.len() + 1);
            let end = (at + cut).min(line.len());
            line.splice(at..end, put);
            if let Some(job) = fast(&line) {
                let text = String::from_utf8_lossy(&line).into_owned();
                prop_assert_eq!(Some(job), general(&line), "{}", text);
            }
        }
    }

    #[test]
    fn unusual_lines_are_left_to_the_general_way() {
        let hash = "0".repeat(64);
        let params = format!(r#"["a","{hash}","00","",[],"20000000","1d00ffff","504e86b9",true]"#);
        let notify = r#""method":"mining.notify""#;
        let usual = format!(r#"{{{notify},"params":{params}}}"#);
        assert!(fast(usual.as_bytes()).is_some());
        for (line, is_a_job) in [
            (usual.replace("[]", "[ ]"), true),
            (usual.replace("{", "{\"jsonrpc\":\"2.0\","), true),
            (usual.replace("{", "{\"id\":7,"), true),
            (usual.replace("\"a\"", r#""\u0061""#), true),
            (usual.replace("true]", "true,1]"), true),
            (format!(r#"{{{notify},{notify},"params":{params}}}"#), true),
            (usual.replace("\"a\"", "\"\""), false),
            (usual.replace("\"00\"", "\"0\""), false),
            (usual.replace("\"00\"", "\"0x\""), false),
            (usual.replace("[]", "[\"00\"]"), false),
            (usual.replace("notify", "Notify"), false),
            (usual.replace(",true", ""), false),
            (format!("{usual}}}"), false),
            (format!("{usual}\x0c"), false),
            (format!(r#"{{"params":{params}}}"#), false),
            (format!("{{{notify}}}"), false),
            (usual[1..].to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(general(line.as_bytes()).is_some(), is_a_job, "{line}");
            // White space where there is nothing is the only one of them that costs nothing.
            let taken = fast(line.as_bytes()).is_some();
            assert_eq!(taken, line.contains("[ ]"), "{line}");
        }
    }
}
