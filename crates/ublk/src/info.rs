//! What the driver tells of a device.

use std::fmt;
use std::path::PathBuf;

use crate::uapi::{self, DevInfo, Params, state};

/// A block device as the driver knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// Its id: the block device is `/dev/ublkbN`.
    pub id: u32,
    /// What becomes of requests.
    pub state: DeviceState,
    /// Hardware queues.
    pub queues: u16,
    /// Requests of a queue that can be under way.
    pub depth: u16,
    /// Bytes of the largest request.
    pub max_io_bytes: u32,
    /// Bytes of the device; 0 before it has been given its parameters.
    pub size: u64,
    /// Bytes of the smallest request.
    pub block_size: u32,
    /// Nothing can be written.
    pub read_only: bool,
    /// Another server may take it over.
    pub recoverable: bool,
    /// The process that serves it, if there is one.
    pub server: Option<u32>,
}

impl DeviceInfo {
    pub(crate) fn new(info: &DevInfo, params: &Params) -> Self {
        Self {
            id: info.dev_id,
            state: DeviceState::from_number(info.state),
            queues: info.nr_hw_queues,
            depth: info.queue_depth,
            max_io_bytes: info.max_io_buf_bytes,
            size: params.basic.dev_sectors.saturating_mul(uapi::SECTOR),
            block_size: 1_u32
                .checked_shl(params.basic.logical_bs_shift.into())
                .unwrap_or(0),
            read_only: params.basic.attrs & uapi::ATTR_READ_ONLY != 0,
            recoverable: info.flags & uapi::F_USER_RECOVERY != 0,
            // The driver keeps the last one's.
            server: u32::try_from(info.ublksrv_pid)
                .ok()
                .filter(|&pid| pid > 0 && info.state == state::LIVE),
        }
    }

    /// The block device.
    pub fn path(&self) -> PathBuf {
        block_device(self.id)
    }
}

/// `/dev/ublkbN`, which applications open.
pub(crate) fn block_device(id: u32) -> PathBuf {
    format!("/dev/ublkb{id}").into()
}

/// `/dev/ublkcN`, which the server opens.
pub(crate) fn character_device(id: u32) -> PathBuf {
    format!("/dev/ublkc{id}").into()
}

/// What becomes of requests to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceState {
    /// There is no block device: it was not started, or has ended.
    Dead,
    /// They are served.
    Live,
    /// They wait for another server.
    Quiesced,
    /// They fail until there is another server.
    Failing,
    /// A state that came after Linux 7.2.
    Other(u16),
}

impl DeviceState {
    fn from_number(number: u16) -> Self {
        match number {
            state::DEAD => Self::Dead,
            state::LIVE => Self::Live,
            state::QUIESCED => Self::Quiesced,
            state::FAIL_IO => Self::Failing,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dead => f.pad("dead"),
            Self::Live => f.pad("live"),
            Self::Quiesced => f.pad("quiesced"),
            Self::Failing => f.pad("failing"),
            Self::Other(number) => f.pad(&format!("state {number}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_read_from_what_the_driver_tells() {
        let mut info = DevInfo {
            dev_id: 3,
            nr_hw_queues: 2,
            queue_depth: 64,
            state: state::QUIESCED,
            ublksrv_pid: -1,
            flags: uapi::F_USER_RECOVERY,
            ..DevInfo::default()
        };
        let mut params = Params::default();
        params.basic.dev_sectors = 16;
        params.basic.logical_bs_shift = 12;
        let device = DeviceInfo::new(&info, &params);
        assert_eq!((device.size, device.block_size), (8192, 4096));
        assert_eq!(device.state.to_string(), "quiesced");
        assert!(device.recoverable && !device.read_only);
        assert_eq!(device.server, None);
        assert_eq!(device.path(), PathBuf::from("/dev/ublkb3"));
        info.ublksrv_pid = 17;
        assert_eq!(DeviceInfo::new(&info, &params).server, None);
        info.state = state::LIVE;
        params.basic.attrs = uapi::ATTR_READ_ONLY;
        // Nonsense does not make it panic.
        params.basic.logical_bs_shift = 255;
        params.basic.dev_sectors = u64::MAX;
        let device = DeviceInfo::new(&info, &params);
        assert_eq!(device.server, Some(17));
        assert!(device.read_only);
    }
}
