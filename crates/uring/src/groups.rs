//! Groups of buffers that the kernel picks from.
#![allow(unsafe_code)]

use zcn_pool::LocalPool;

use crate::buf_ring::{BufRing, Consumption, GroupId, GroupStats};
use crate::error::RegisterError;
use crate::ring::Ring;
use crate::sizes::{CompletionSize, EntrySize};

impl<E: EntrySize, C: CompletionSize> Ring<E, C> {
    /// Registers a provided-buffer ring of `entries` buffers of the thread's pool.
    ///
    /// The ring is filled at once and again at every submit, as far as the pool goes; a receive
    /// that finds it empty ends with `ENOBUFS`.
    ///
    /// # Errors
    /// [`RegisterError`]: `entries` not a power of two up to 32768, more than 256 groups, a pool
    /// without a single free buffer, or the kernel's refusal.
    pub fn register_group(
        &mut self,
        entries: u16,
        source: LocalPool,
        consumption: Consumption,
    ) -> Result<GroupId, RegisterError> {
        if !entries.is_power_of_two() || entries > 32768 {
            return Err(RegisterError::Config {
                setting: "buffer-ring entries",
                value: entries.into(),
                range: "a power of two from 1 to 32768",
            });
        }
        let index = match self.groups.iter().position(Option::is_none) {
            Some(index) => index,
            None => {
                self.groups.push(None);
                self.groups.len() - 1
            }
        };
        let Ok(number) = u8::try_from(index) else {
            return Err(RegisterError::Config {
                setting: "buffer groups",
                value: index as u64,
                range: "at most 256 on one ring",
            });
        };
        let mut group = BufRing::new(entries, source, consumption);
        let flags = match consumption {
            Consumption::Whole => 0,
            Consumption::Incremental => crate::constants::PBUF_RING_INC,
        };
        // SAFETY: the entries are `entries` long, zeroed, page-aligned, and owned by the `BufRing`
        // that this ring keeps until it has unregistered the group or is closed itself.
        unsafe {
            self.queues.submitter().register_buf_ring_with_flags(
                group.address(),
                entries,
                number.into(),
                flags,
            )
        }
        .map_err(|source| RegisterError::Kernel {
            what: "provided-buffer ring",
            source,
        })?;
        group.refill();
        let available = group.stats().available;
        self.groups[index] = Some(group);
        if available == 0 {
            self.unregister_group(GroupId(number));
            return Err(RegisterError::PoolExhausted {
                wanted: entries.into(),
                had: 0,
            });
        }
        Ok(GroupId(number))
    }

    /// Takes a group away; its buffers go home. Whether it is gone: nothing happens while a receive
    /// on it is in flight, because its completion may still name one of the buffers.
    pub fn unregister_group(&mut self, group: GroupId) -> bool {
        let index = usize::from(group.0);
        if self.slots.picks_from(group.0) {
            return false;
        }
        if !matches!(self.groups.get(index), Some(Some(_))) {
            return false;
        }
        let result = self.queues.submitter().unregister_buf_ring(group.0.into());
        if result.is_ok() {
            self.groups[index] = None;
        }
        // Otherwise the kernel may still pick from it: keep it for as long as the ring lives.
        result.is_ok()
    }

    /// Stock of a group.
    pub fn group_stats(&self, group: GroupId) -> Option<GroupStats> {
        Some(self.groups.get(usize::from(group.0))?.as_ref()?.stats())
    }

    /// Lends free buffers of the pool to the kernel where a group has room. Every submit does this.
    #[inline]
    pub fn refill_groups(&mut self) {
        for group in self.groups.iter_mut().flatten() {
            group.refill();
        }
    }
}
