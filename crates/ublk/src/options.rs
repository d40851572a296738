//! How a device is set up.

use crate::error::UblkError;
use crate::target::Target;
use crate::uapi::{self, DevInfo, ParamBasic, ParamDiscard, Params};

/// Settings of a new device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceOptions {
    /// Its id, as in `/dev/ublkbN`; a free one, if `None`.
    pub id: Option<u32>,
    /// Hardware queues, each served by a thread with a ring of its own: 1 to 4096, and at most as
    /// many as there are CPUs (the driver sees to that). 1 unless set.
    pub queues: u16,
    /// Requests of a queue that can be under way together: 1 to 4096. 64 unless set.
    pub depth: u16,
    /// Bytes of a logical block: 512, 1024, 2048 or 4096. 512 unless set.
    pub block_size: u32,
    /// Bytes of the largest request: a multiple of 4096, up to 32 MiB. Each tag of each queue has
    /// a buffer of so many bytes, which takes memory once it is used. 256 KiB unless set.
    pub max_io_bytes: u32,
    /// Nothing can be written.
    pub read_only: bool,
    /// When the server goes away, requests wait for another one ([`Device::recover`]), which also
    /// gets those that were not answered. Otherwise they fail, and the device ends. For devices on
    /// a file only.
    ///
    /// [`Device::recover`]: crate::Device::recover
    pub recoverable: bool,
}

impl Default for DeviceOptions {
    fn default() -> Self {
        Self {
            id: None,
            queues: 1,
            depth: 64,
            block_size: 512,
            max_io_bytes: 256 << 10,
            read_only: false,
            recoverable: false,
        }
    }
}

/// Largest request that the driver's interface can express.
const MAX_IO_BYTES: u32 = 32 << 20;
/// What buffers and requests are multiples of.
const PAGE: u32 = 4096;
/// Largest range to discard or to fill with zeroes at a time, in sectors: 2 GiB.
const MAX_RANGE: u32 = 1 << 22;

impl DeviceOptions {
    /// Says what is wrong with the settings, for a target of `size` bytes.
    ///
    /// # Errors
    /// [`UblkError::Config`].
    pub fn check(&self, size: u64) -> Result<(), UblkError> {
        let config = |setting, value, range| {
            Err(UblkError::Config {
                setting,
                value,
                range,
            })
        };
        match self.id {
            Some(id) if id > uapi::MAX_ID => return config("id", id.into(), "0 to 1048575"),
            _ => {}
        }
        if !(1..=uapi::MAX_QUEUES).contains(&self.queues) {
            return config("queues", self.queues.into(), "1 to 4096");
        }
        if !(1..=uapi::MAX_QUEUE_DEPTH).contains(&self.depth) {
            return config("depth", self.depth.into(), "1 to 4096");
        }
        if !matches!(self.block_size, 512 | 1024 | 2048 | 4096) {
            let block_size = self.block_size.into();
            return config("block size", block_size, "512, 1024, 2048 or 4096 bytes");
        }
        let max = self.max_io_bytes;
        if !(PAGE..=MAX_IO_BYTES).contains(&max) || !max.is_multiple_of(PAGE) {
            return config(
                "largest request",
                max.into(),
                "a multiple of 4096 bytes, up to 32 MiB",
            );
        }
        if size == 0 || !size.is_multiple_of(self.block_size.into()) {
            return config("size", size, "a multiple of the block size, not 0");
        }
        // Sectors of the block layer are numbered in a signed word of bytes.
        if i64::try_from(size).is_err() {
            return config("size", size, "less than 8 EiB");
        }
        Ok(())
    }

    /// What the driver is asked for.
    pub(crate) fn info(&self) -> DevInfo {
        DevInfo {
            nr_hw_queues: self.queues,
            queue_depth: self.depth,
            max_io_buf_bytes: self.max_io_bytes,
            dev_id: self.id.unwrap_or(uapi::ANY_ID),
            flags: match self.recoverable {
                true => uapi::F_USER_RECOVERY | uapi::F_USER_RECOVERY_REISSUE,
                false => 0,
            },
            ..DevInfo::default()
        }
    }

    /// The parameters of the block device.
    pub(crate) fn params(&self, target: &Target) -> Params {
        // Checked to be a power of two, at most a page.
        let block_shift = self.block_size.trailing_zeros() as u8;
        let page_shift = PAGE.trailing_zeros() as u8;
        let mut attrs = 0;
        if self.read_only {
            attrs |= uapi::ATTR_READ_ONLY;
        }
        if target.has_cache() {
            attrs |= uapi::ATTR_VOLATILE_CACHE | uapi::ATTR_FUA;
        }
        let basic = ParamBasic {
            attrs,
            logical_bs_shift: block_shift,
            physical_bs_shift: page_shift,
            io_opt_shift: page_shift,
            io_min_shift: page_shift,
            max_sectors: self.max_io_bytes / uapi::SECTOR as u32,
            dev_sectors: target.size() / uapi::SECTOR,
            ..ParamBasic::default()
        };
        let mut params = Params {
            len: uapi::PARAMS_LEN,
            types: uapi::PARAM_TYPE_BASIC,
            basic,
            ..Params::default()
        };
        if !self.read_only {
            params.types |= uapi::PARAM_TYPE_DISCARD;
            params.discard = ParamDiscard {
                discard_granularity: PAGE,
                max_discard_sectors: MAX_RANGE,
                max_write_zeroes_sectors: MAX_RANGE,
                max_discard_segments: 1,
                ..ParamDiscard::default()
            };
        }
        params
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_named() {
        let good = DeviceOptions::default();
        good.check(4096).expect("the defaults");
        let cases: [(DeviceOptions, u64, &str); 14] = [
            (
                DeviceOptions {
                    id: Some(1 << 20),
                    ..good.clone()
                },
                512,
                "id",
            ),
            (
                DeviceOptions {
                    queues: 0,
                    ..good.clone()
                },
                512,
                "queues",
            ),
            (
                DeviceOptions {
                    queues: 4097,
                    ..good.clone()
                },
                512,
                "queues",
            ),
            (
                DeviceOptions {
                    depth: 0,
                    ..good.clone()
                },
                512,
                "depth",
            ),
            (
                DeviceOptions {
                    depth: 4097,
                    ..good.clone()
                },
                512,
                "depth",
            ),
            (
                DeviceOptions {
                    block_size: 0,
                    ..good.clone()
                },
                512,
                "block size",
            ),
            (
                DeviceOptions {
                    block_size: 513,
                    ..good.clone()
                },
                513,
                "block size",
            ),
            (
                DeviceOptions {
                    block_size: 8192,
                    ..good.clone()
                },
                8192,
                "block size",
            ),
            (
                DeviceOptions {
                    max_io_bytes: 0,
                    ..good.clone()
                },
                512,
                "largest request",
            ),
            (
                DeviceOptions {
                    max_io_bytes: 5000,
                    ..good.clone()
                },
                512,
                "largest request",
            ),
            (
                DeviceOptions {
                    max_io_bytes: 64 << 20,
                    ..good.clone()
                },
                512,
                "largest request",
            ),
            (good.clone(), 0, "size"),
            (good.clone(), 1000, "size"),
            (
                DeviceOptions {
                    block_size: 4096,
                    ..good
                },
                512,
                "size",
            ),
        ];
        for (options, size, setting) in cases {
            let error = options.check(size).expect_err(setting);
            assert!(error.to_string().starts_with(setting), "{error}");
        }
        let error = DeviceOptions::default()
            .check(1 << 63)
            .expect_err("too large");
        assert!(error.to_string().contains("8 EiB"), "{error}");
    }

    #[test]
    fn a_target_with_a_cache_is_announced_as_one() {
        let memory = Target::memory(1 << 20).expect("memory");
        let mut options = DeviceOptions::default();
        let params = options.params(&memory);
        assert_eq!(params.basic.attrs, 0);
        assert_eq!(params.basic.dev_sectors, 2048);
        assert_eq!(params.basic.max_sectors, 512);
        assert_eq!(params.types, 3);
        options.read_only = true;
        let params = options.params(&memory);
        assert_eq!(params.basic.attrs, uapi::ATTR_READ_ONLY);
        assert_eq!(params.types, uapi::PARAM_TYPE_BASIC);
    }
}
