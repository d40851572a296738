//! Shares in the ledger: what is written of each, and who they are for.

use serde::{Deserialize, Serialize};
use zcn_stratum::client::Resume;
use zcn_stratum::hex;
use zcn_stratum::inline::{Extranonce, JobId};
use zcn_stratum::share::Share;

use super::settings::{LedgerSettings, Pool};
use super::shares::FoundShare;
use crate::ledger::{Ledger, LedgerError, OpenShare};

/// Bytes of a ledger that is written anew with its open shares alone: some ten thousand shares.
const COMPACT_AT: u64 = 4 << 20;

/// A share as it stands in the ledger, as JSON. With it stands what it takes to resume the
/// session that it was found in, without which it would be worth nothing.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    pool: String,
    user: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    session: Option<String>,
    extranonce_1: String,
    prev_hash: String,
    job_id: String,
    extranonce_2: String,
    ntime: u32,
    nonce: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    version_bits: Option<u32>,
}

impl Entry {
    fn new(found: &FoundShare, pool: &Pool, resume: Option<&Resume>) -> Self {
        // That of another session would lead to extranonces that are not this share's.
        let resume = resume.filter(|resume| resume.extranonce_1 == found.extranonce_1);
        let share = &found.share;
        Self {
            pool: pool.url.to_string(),
            user: pool.user.clone(),
            session: resume.map(|resume| resume.session.clone()),
            extranonce_1: hex::encode(found.extranonce_1.as_bytes()),
            prev_hash: hex::encode(&found.prev_hash),
            job_id: hex::encode(share.job_id.as_bytes()),
            extranonce_2: hex::encode(share.extranonce_2.as_bytes()),
            ntime: share.ntime,
            nonce: share.nonce,
            version_bits: share.version_bits,
        }
    }

    /// The share, for the pool in that place of the list.
    fn share(&self, pool: usize) -> Option<FoundShare> {
        Some(FoundShare {
            pool,
            extranonce_1: Extranonce::from_hex(self.extranonce_1.as_bytes())?,
            prev_hash: hex::decode_array(self.prev_hash.as_bytes()).ok()?,
            share: Share {
                job_id: JobId::from_hex(self.job_id.as_bytes())?,
                extranonce_2: Extranonce::from_hex(self.extranonce_2.as_bytes())?,
                ntime: self.ntime,
                nonce: self.nonce,
                version_bits: self.version_bits,
            },
        })
    }
}

/// A share that the program before has left.
#[derive(Debug)]
pub(super) struct Left {
    /// The number that settles it.
    pub(super) number: u64,
    pub(super) found: FoundShare,
    /// How its session is resumed.
    pub(super) resume: Option<Resume>,
}

/// The ledger of a session.
#[derive(Debug)]
pub(super) struct Book {
    ledger: Ledger,
    compact_at: u64,
    /// Shares for pools that are not in the list: kept for a program that has them.
    foreign: Vec<OpenShare>,
}

impl Book {
    /// Opens the ledger, and tells which of its shares are for `pools`, oldest first.
    pub(super) fn open(
        settings: &LedgerSettings,
        pools: &[Pool],
    ) -> Result<(Self, Vec<Left>), LedgerError> {
        let (ledger, open) = Ledger::open(&settings.path, settings.durability)?;
        let (mut left, mut foreign) = (Vec::new(), Vec::new());
        for share in open {
            match take(&share, pools) {
                Some(ours) => left.push(ours),
                None => foreign.push(share),
            }
        }
        let book = Self {
            ledger,
            compact_at: COMPACT_AT,
            foreign,
        };
        Ok((book, left))
    }

    /// Shares for pools that are not in the list.
    pub(super) fn foreign(&self) -> usize {
        self.foreign.len()
    }

    /// Writes a share, and tells the number that settles it.
    pub(super) fn found(
        &mut self,
        found: &FoundShare,
        pool: &Pool,
        resume: Option<&Resume>,
    ) -> Result<u64, LedgerError> {
        self.ledger.found(&bytes(found, pool, resume))
    }

    /// Writes that a share was answered, or is worth nothing.
    pub(super) fn settle(&mut self, number: u64) -> Result<(), LedgerError> {
        self.ledger.settle(number)
    }

    /// Whether it is time to [`compact`](Self::compact).
    pub(super) fn is_long(&self) -> bool {
        self.ledger.length() >= self.compact_at
    }

    /// Writes the ledger anew with the shares that are still open.
    pub(super) fn compact<'a>(
        &mut self,
        pools: &[Pool],
        open: impl Iterator<Item = (u64, &'a FoundShare, Option<&'a Resume>)>,
    ) -> Result<(), LedgerError> {
        let mut all = self.foreign.clone();
        all.extend(open.map(|(number, found, resume)| OpenShare {
            number,
            bytes: bytes(found, &pools[found.pool], resume),
        }));
        let done = self.ledger.compact(&all);
        // If most of it is open, or it failed, not again at once.
        self.compact_at = self.ledger.length().saturating_mul(2).max(COMPACT_AT);
        done
    }
}

fn bytes(found: &FoundShare, pool: &Pool, resume: Option<&Resume>) -> Vec<u8> {
    // Text and numbers: that cannot fail.
    serde_json::to_vec(&Entry::new(found, pool, resume)).unwrap_or_default()
}

fn take(share: &OpenShare, pools: &[Pool]) -> Option<Left> {
    let entry: Entry = serde_json::from_slice(&share.bytes).ok()?;
    let place = pools
        .iter()
        .position(|pool| pool.user == entry.user && pool.url.to_string() == entry.pool)?;
    let found = entry.share(place)?;
    let extranonce_1 = found.extranonce_1;
    Some(Left {
        number: share.number,
        found,
        resume: entry.session.map(|session| Resume {
            session,
            extranonce_1,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(url: &str) -> Pool {
        Pool {
            url: url.parse().expect("a URL"),
            user: "me".to_owned(),
            password: "x".to_owned(),
            pins: Vec::new(),
        }
    }

    fn share(version_bits: Option<u32>) -> FoundShare {
        FoundShare {
            pool: 0,
            extranonce_1: Extranonce::new(&[1, 2, 3, 0]).expect("short"),
            prev_hash: std::array::from_fn(|i| i as u8),
            share: Share {
                job_id: JobId::new(b"job \"7\"\xff").expect("short"),
                extranonce_2: Extranonce::new(&[0; 8]).expect("short"),
                ntime: 0x64b3_f3ec,
                nonce: u32::MAX,
                version_bits,
            },
        }
    }

    fn resume(extranonce_1: &[u8]) -> Resume {
        Resume {
            session: "the \"one\"".to_owned(),
            extranonce_1: Extranonce::new(extranonce_1).expect("short"),
        }
    }

    #[test]
    fn a_share_comes_back_with_the_place_of_its_pool_now() {
        let (first, second) = (pool("tcp://a:1"), pool("ssl://b:2"));
        for version_bits in [None, Some(0x1fff_e000)] {
            let found = share(version_bits);
            let written = OpenShare {
                number: 5,
                bytes: bytes(&found, &second, Some(&resume(&[1, 2, 3, 0]))),
            };
            let left = take(&written, &[first.clone(), second.clone()]).expect("ours");
            assert_eq!(left.number, 5);
            assert_eq!(left.found, FoundShare { pool: 1, ..found });
            assert_eq!(left.resume, Some(resume(&[1, 2, 3, 0])));
            let mut other = second.clone();
            other.user.push('2');
            assert!(take(&written, &[first.clone(), other]).is_none());
        }
    }

    #[test]
    fn the_ticket_of_another_session_is_not_written() {
        let pool = pool("tcp://a:1");
        let bytes = bytes(&share(None), &pool, Some(&resume(&[9; 4])));
        let left = take(&OpenShare { number: 0, bytes }, &[pool]).expect("ours");
        assert_eq!(left.resume, None);
    }

    #[test]
    fn a_long_book_is_written_anew_with_what_is_open() {
        let name = format!("zcn-book-{}", std::process::id());
        let settings = LedgerSettings {
            path: std::env::temp_dir().join(name),
            durability: crate::ledger::Durability::Kernel,
        };
        let pools = [pool("tcp://a:1")];
        let ticket = resume(&[1, 2, 3, 0]);
        let (mut ledger, _) = Ledger::open(&settings.path, settings.durability).expect("new");
        ledger.found(b"somebody else's").expect("written");
        drop(ledger);
        let (mut book, left) = Book::open(&settings, &pools).expect("there");
        assert_eq!((left.len(), book.foreign()), (0, 1));
        book.compact_at = 4096;
        let mut open = Vec::new();
        while !book.is_long() {
            let mut found = share(None);
            found.share.nonce = open.len() as u32;
            let number = book
                .found(&found, &pools[0], Some(&ticket))
                .expect("written");
            open.push((number, found));
        }
        let settled = open.remove(0);
        book.settle(settled.0).expect("written");
        let all = open
            .iter()
            .map(|(number, found)| (*number, found, Some(&ticket)));
        book.compact(&pools, all).expect("written");
        assert!(!book.is_long(), "not again at once");
        drop(book);
        let (book, left) = Book::open(&settings, &pools).expect("there");
        assert_eq!(book.foreign(), 1);
        let came: Vec<_> = left.iter().map(|left| (left.number, left.found)).collect();
        assert_eq!(came, open);
        assert!(
            left.iter()
                .all(|left| left.resume.as_ref() == Some(&ticket))
        );
        std::fs::remove_file(&settings.path).expect("removed");
    }

    #[test]
    fn what_is_no_share_is_nobodys() {
        for bytes in [&b""[..], b"{}", b"share number 3", b"\xff\xff"] {
            let bytes = bytes.to_vec();
            assert!(take(&OpenShare { number: 0, bytes }, &[pool("tcp://a:1")]).is_none());
        }
    }
}
