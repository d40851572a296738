//! The ring's file table: connections that are used a lot have a place there.
//!
//! An operation on an ordinary descriptor looks the file up and counts a reference to it, twice an
//! echo; on a place of the table it need not (`docs/decisions.md`, "Busy connections"). Installing
//! costs a system call, and so does removing, so that only connections that have proved busy are
//! installed; a short one never pays.

use std::os::fd::BorrowedFd;

use zcn_uring::Ring;

/// Most places; the kernel takes a pointer for each.
const PLACES: u32 = 4096;

/// A place that is none.
pub(super) const NO_PLACE: u32 = u32::MAX;

/// Which places of a ring's file table are free.
#[derive(Debug)]
pub(super) struct FileTable {
    free: Vec<u32>,
}

impl FileTable {
    /// Registers a table with the ring, or has no places: without
    /// [`independent_files`](zcn_uring::Features::independent_files) a closed connection would stay
    /// open for as long as any other one waits.
    pub(super) fn new(ring: &mut Ring) -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        // The kernel wants the table no larger than the descriptor limit.
        let places = limit.map_or(PLACES, |limit| {
            u32::try_from(limit).unwrap_or(PLACES).min(PLACES)
        });
        let usable = ring.features().independent_files && ring.register_files(places).is_ok();
        Self {
            free: match usable {
                true => (0..places).rev().collect(),
                false => Vec::new(),
            },
        }
    }

    /// Puts a file into the table; [`NO_PLACE`] when it is full.
    pub(super) fn install(&mut self, ring: &mut Ring, fd: BorrowedFd<'_>) -> u32 {
        let Some(place) = self.free.pop() else {
            return NO_PLACE;
        };
        if ring.update_files(place, &[fd]).is_ok() {
            return place;
        }
        self.free.push(place);
        NO_PLACE
    }

    /// Takes a file out whose operations have all ended.
    pub(super) fn remove(&mut self, ring: &mut Ring, place: u32) {
        // It cannot fail for a place of the table; if it does, nobody else may have the place.
        if ring.clear_file(place).is_ok() {
            self.free.push(place);
        }
    }
}
