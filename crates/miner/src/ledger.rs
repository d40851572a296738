//! Found shares on disk.
//!
//! A share is written before it is sent, and settled when the pool has answered, whatever
//! the answer. After a crash, what was found and not settled comes back from
//! [`Ledger::open`] and can be sent again where the pool still takes it.
//!
//! # The file
//! Records one after the other, each `length | checksum | kind | number | bytes`: length
//! (`u32`) of what follows the checksum, CRC-32 of it (`u32`), kind (`u8`), number of the
//! share (`u64`), all little-endian, and for a found share its bytes. What follows the
//! first record that is cut off or does not check was never complete, and is cut away; a
//! file that begins with something else than a record, or the beginning of one, is left alone.
//! When it is opened or compacted, settled shares are dropped: the open ones go to a new
//! file, which then takes the place of the old one.
//!
//! # What survives what
//! A record is in the kernel's hands when the call returns: it survives a kill of the
//! program at any moment. [`Durability::Disk`] also waits until the disk has it, which
//! survives loss of power and takes from a tenth of a millisecond to tens of them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Bytes of the longest share.
pub const MAX_SHARE: usize = 4096;

/// Bytes in front of what the checksum covers.
const HEAD: usize = 8;
/// Bytes of kind and number.
const FIXED: usize = 9;

const FOUND: u8 = 1;
const SETTLED: u8 = 2;

/// When a record counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// When the kernel has it: survives a kill of the program.
    #[default]
    Kernel,
    /// When the disk has it: survives loss of power.
    Disk,
}

/// Something the ledger could not do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// A file operation failed.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another program has the ledger open.
    #[error("{} is in use by another program; give each miner its own ledger", .0.display())]
    InUse(PathBuf),
    /// The file is somebody else's.
    #[error("{} is no ledger, and is left as it is; name another file, or one that is not there yet", .0.display())]
    NoLedger(PathBuf),
    /// More bytes than a share may have.
    #[error("a share of {0} bytes is longer than the {MAX_SHARE} that the ledger takes")]
    TooLong(usize),
}

/// A found share and its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenShare {
    /// The number that settles it.
    pub number: u64,
    /// What was given to [`Ledger::found`].
    pub bytes: Vec<u8>,
}

/// The ledger of one program.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    path: PathBuf,
    durability: Durability,
    next: u64,
    /// Bytes of whole records.
    length: u64,
    /// A record in the making; kept, so that writing allocates nothing.
    record: Vec<u8>,
}

impl Ledger {
    /// Opens the ledger at `path`, or makes it, and tells which shares are not settled,
    /// oldest first.
    ///
    /// # Errors
    /// When files cannot be read, written or moved, another program has it open, or the file is
    /// no ledger.
    pub fn open(
        path: impl Into<PathBuf>,
        durability: Durability,
    ) -> Result<(Self, Vec<OpenShare>), LedgerError> {
        let path = path.into();
        let mut file = open(&path, false)?;
        lock(&file, &path)?;
        if !is_at(&file, &path).map_err(|source| failed("look at", &path, source))? {
            // Its owner has replaced it since, and has the new one.
            return Err(LedgerError::InUse(path));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(|source| failed("read", &path, source))?;
        if is_foreign(&bytes) {
            return Err(LedgerError::NoLedger(path));
        }
        let (open_shares, next) = read(&bytes);
        let mut ledger = Self {
            file,
            path,
            durability,
            next,
            length: 0,
            record: Vec::with_capacity(HEAD + FIXED + MAX_SHARE),
        };
        ledger.compact(&open_shares)?;
        Ok((ledger, open_shares))
    }

    /// Writes a found share, and tells the number that settles it.
    ///
    /// # Errors
    /// When it is too long or cannot be written. Then nothing of it stays in the file.
    pub fn found(&mut self, bytes: &[u8]) -> Result<u64, LedgerError> {
        if bytes.len() > MAX_SHARE {
            return Err(LedgerError::TooLong(bytes.len()));
        }
        let number = self.next;
        self.append(FOUND, number, bytes)?;
        self.next += 1;
        Ok(number)
    }

    /// Writes that the pool has answered to a share. Numbers that are settled or were
    /// never given do no harm.
    ///
    /// # Errors
    /// When it cannot be written: the share may come back after a crash.
    pub fn settle(&mut self, number: u64) -> Result<(), LedgerError> {
        self.append(SETTLED, number, &[])
    }

    fn append(&mut self, kind: u8, number: u64, bytes: &[u8]) -> Result<(), LedgerError> {
        self.record.clear();
        encode(&mut self.record, kind, number, bytes);
        let written = self
            .file
            .write_all(&self.record)
            .and_then(|()| match self.durability {
                Durability::Kernel => Ok(()),
                Durability::Disk => self.file.sync_data(),
            });
        if let Err(source) = written {
            // What is half written would hide all that follows. If it cannot be cut away
            // either, reading ends there.
            let _ = self.file.set_len(self.length);
            let _ = self.file.seek(SeekFrom::Start(self.length));
            return Err(failed("write to", &self.path, source));
        }
        self.length += self.record.len() as u64;
        Ok(())
    }

    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Replaces the file by one that holds only `open_shares`: those that came back from
    /// [`open`](Self::open) or were written since, and are not settled.
    ///
    /// # Errors
    /// When files cannot be written or moved. Then the old file stays. When the folder cannot be
    /// synced, the new one is in its place, but may not survive loss of power.
    pub fn compact(&mut self, open_shares: &[OpenShare]) -> Result<(), LedgerError> {
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let new_path = PathBuf::from(name);
        let mut new = open(&new_path, true)?;
        lock(&new, &self.path)?;
        let mut bytes = Vec::new();
        // Numbers go on where they were, even when nothing is open.
        if self.next > 0 {
            encode(&mut bytes, SETTLED, self.next - 1, &[]);
        }
        for share in open_shares {
            encode(&mut bytes, FOUND, share.number, &share.bytes);
        }
        new.write_all(&bytes)
            .and_then(|()| new.sync_all())
            .map_err(|source| failed("write to", &new_path, source))?;
        fs::rename(&new_path, &self.path)
            .map_err(|source| failed("replace", &self.path, source))?;
        // Whatever comes now: what is written to the old file is found by nobody.
        self.length = bytes.len() as u64;
        self.file = new;
        sync_folder(&self.path)
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> LedgerError {
    LedgerError::File {
        action,
        path: path.to_owned(),
        source,
    }
}

fn open(path: &Path, empty: bool) -> Result<File, LedgerError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(empty)
        .open(path)
        .map_err(|source| failed("open", path, source))
}

fn lock(file: &File, path: &Path) -> Result<(), LedgerError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(fs::TryLockError::WouldBlock) => Err(LedgerError::InUse(path.to_owned())),
        Err(fs::TryLockError::Error(source)) => Err(failed("lock", path, source)),
    }
}

/// Whether that file is still the one at `path`.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let [ours, there] = [file.metadata()?, fs::metadata(path)?];
    Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino()))
}

/// Makes the new name of a file last.
fn sync_folder(path: &Path) -> Result<(), LedgerError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| failed("sync", folder, source))
}

fn encode(to: &mut Vec<u8>, kind: u8, number: u64, bytes: &[u8]) {
    let start = to.len();
    to.extend_from_slice(&((FIXED + bytes.len()) as u32).to_le_bytes());
    to.extend_from_slice(&[0; 4]);
    to.push(kind);
    to.extend_from_slice(&number.to_le_bytes());
    to.extend_from_slice(bytes);
    let checksum = crc32fast::hash(&to[start + HEAD..]);
    to[start + 4..start + HEAD].copy_from_slice(&checksum.to_le_bytes());
}

/// One record and what follows it; `None` when it is not whole.
fn decode(bytes: &[u8]) -> Option<(u8, u64, &[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (checksum, rest) = rest.split_first_chunk()?;
    let length = u32::from_le_bytes(*length) as usize;
    if !(FIXED..=FIXED + MAX_SHARE).contains(&length) {
        return None;
    }
    let (body, rest) = rest.split_at_checked(length)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let (&kind, body) = body.split_first()?;
    let (number, share) = body.split_first_chunk()?;
    Some((kind, u64::from_le_bytes(*number), share, rest))
}

/// Whether that cannot have been the beginning of a ledger: neither a record, whole or cut off,
/// nor the zeros that a loss of power may leave.
fn is_foreign(bytes: &[u8]) -> bool {
    let mut length = [0; 4];
    let there = bytes.len().min(length.len());
    length[..there].copy_from_slice(&bytes[..there]);
    let length = u32::from_le_bytes(length) as usize;
    let begins =
        there < 4 && length <= FIXED + MAX_SHARE || (FIXED..=FIXED + MAX_SHARE).contains(&length);
    !begins && bytes.iter().any(|&byte| byte != 0)
}

/// The shares that are not settled, and the next number.
fn read(mut bytes: &[u8]) -> (Vec<OpenShare>, u64) {
    let mut open_shares: Vec<OpenShare> = Vec::new();
    let mut next = 0;
    while let Some((kind, number, share, rest)) = decode(bytes) {
        match kind {
            FOUND => open_shares.push(OpenShare {
                number,
                bytes: share.to_owned(),
            }),
            SETTLED => open_shares.retain(|share| share.number != number),
            // Of a later version, which knows what it is for.
            _ => {}
        }
        next = next.max(number.saturating_add(1));
        bytes = rest;
    }
    (open_shares, next)
}

#[cfg(test)]
mod tests;
