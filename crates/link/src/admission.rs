//! Which frames a link takes.

use zcn_frame::{Capabilities, Checksum, Frame};

use crate::statistics::DropReason;

/// Whether a link of these capabilities carries the frame; if not, why.
///
/// Every driver asks this before it sends, so that a frame that one link refuses is not
/// carried by another of the same capabilities.
#[inline]
pub(crate) fn admit(capabilities: &Capabilities, frame: &Frame) -> Result<(), DropReason> {
    let link_header = capabilities.medium.header_len();
    let len = frame.len();
    if len <= link_header {
        return Err(DropReason::Malformed);
    }
    if let Some(gso) = frame.meta.gso {
        if !capabilities.gso.contains(gso.kind) || (gso.ecn && !capabilities.gso.ecn) {
            return Err(DropReason::Unsupported);
        }
        // A device finds the headers by the checksum's start, so a super-frame needs one.
        if gso.size == 0 || !matches!(frame.meta.checksum, Checksum::Partial { .. }) {
            return Err(DropReason::Malformed);
        }
        if len - link_header > capabilities.gso_max_size as usize {
            return Err(DropReason::AboveMtu);
        }
    } else {
        // A VLAN tag is not counted against the MTU.
        let tagged = frame.linear().get(12..14) == Some(&[0x81, 0x00]);
        let tag = if link_header > 0 && tagged { 4 } else { 0 };
        if len > capabilities.frame_max() + tag {
            return Err(DropReason::AboveMtu);
        }
    }
    if let Checksum::Partial { start, offset } = frame.meta.checksum {
        if !capabilities.checksum.transmit {
            return Err(DropReason::Unsupported);
        }
        if usize::from(start) + usize::from(offset) + 2 > len {
            return Err(DropReason::Malformed);
        }
    }
    if frame.parts() > capabilities.scatter_max {
        return Err(DropReason::Unsupported);
    }
    Ok(())
}
