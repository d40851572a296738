//! The file table of a ring: registered files and direct descriptors.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use crate::error::RegisterError;
use crate::ring::Ring;
use crate::sizes::{CompletionSize, EntrySize};

impl<E: EntrySize, C: CompletionSize> Ring<E, C> {
    /// Makes a table of `slots` empty places for direct descriptors and registered files.
    ///
    /// # Errors
    /// [`RegisterError`]: a table exists already, or it exceeds the descriptor limit.
    pub fn register_files(&mut self, slots: u32) -> Result<(), RegisterError> {
        self.queues
            .submitter()
            .register_files_sparse(slots)
            .map_err(|source| RegisterError::Kernel {
                what: "file table",
                source,
            })?;
        self.file_slots = slots;
        Ok(())
    }

    /// Puts descriptors into the file table from `offset` on; they may be closed afterwards, the
    /// table keeps the files open.
    ///
    /// # Errors
    /// [`RegisterError`]: beyond the table, or the kernel's refusal.
    pub fn update_files(
        &mut self,
        offset: u32,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), RegisterError> {
        let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        self.set_files(offset, &raw)
    }

    /// Empties a place of the file table. The file is closed when the operations on it have ended,
    /// if no descriptor keeps it open.
    ///
    /// # Errors
    /// [`RegisterError`]: beyond the table, or the kernel's refusal.
    pub fn clear_file(&mut self, place: u32) -> Result<(), RegisterError> {
        self.set_files(place, &[-1])
    }

    fn set_files(&mut self, offset: u32, fds: &[RawFd]) -> Result<(), RegisterError> {
        let end = u64::from(offset) + fds.len() as u64;
        if end > u64::from(self.file_slots) {
            return Err(RegisterError::Config {
                setting: "file slot",
                value: end,
                range: "within the registered file table",
            });
        }
        self.queues
            .submitter()
            .register_files_update(offset, fds)
            .map(drop)
            .map_err(|source| RegisterError::Kernel {
                what: "file table update",
                source,
            })
    }

    /// Lets the kernel choose direct descriptors only from `offset..offset + len`; the rest stays
    /// the caller's.
    ///
    /// # Errors
    /// [`RegisterError::Kernel`].
    pub fn reserve_file_range(&mut self, offset: u32, len: u32) -> Result<(), RegisterError> {
        crate::register::file_alloc_range(self.as_fd(), offset, len).map_err(|source| {
            RegisterError::Kernel {
                what: "file allocation range",
                source,
            }
        })
    }
}
