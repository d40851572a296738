//! What a link without offloads leaves to software: cutting super-frames into packets and
//! finishing checksums.

use zcn_frame::{Checksum, Frame, Gso, GsoKind, HEAD_MAX, Head};
use zcn_wire::checksum::Sum;
use zcn_wire::udp;

pub use zcn_frame::SEGMENTS_MAX;

/// Why a frame was not cut, or its checksum not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// Its headers are not those that its metadata speaks of, or are not all there.
    #[error("the frame's headers do not agree with its metadata")]
    Malformed,
    /// Its headers, or the checksum's place, lie beyond what a [`Head`] holds.
    #[error("the frame's headers are longer than {HEAD_MAX} bytes")]
    HeadersTooLong,
    /// It would become more than [`SEGMENTS_MAX`] packets.
    #[error("the super-frame would become more than {SEGMENTS_MAX} packets")]
    TooManySegments,
}

/// Cuts a super-frame into the packets it stands for and appends them to `packets`; answers
/// how many. `link_header` is the length of the link header (a VLAN tag is found by
/// itself). A frame that is no super-frame is appended as it is.
///
/// The payload is not copied. Sequence numbers and IPv4 identifications count on, FIN and
/// PSH are in the last packet only, and CWR in the first only if the frame's [`Gso::ecn`] says so:
/// otherwise it is in all of them. (Kernels and devices that know nothing of accurate ECN have it in
/// the first only, whatever is said.) The packets' checksums are left to be finished
/// ([`Checksum::Partial`]) if the super-frame's was, so that a link that can do it need not
/// be spared; otherwise they are complete.
///
/// # Errors
/// If the frame cannot be cut; then it is dropped, and `packets` unchanged.
pub fn segment(
    mut frame: Frame,
    link_header: usize,
    packets: &mut Vec<Frame>,
) -> Result<usize, SegmentError> {
    let Some(gso) = frame.meta.gso else {
        packets.push(frame);
        return Ok(1);
    };
    let layout = Layout::of(&mut frame, link_header, gso)?;
    let size = usize::from(gso.size);
    let payload_len = frame.len() - layout.payload;
    let count = payload_len.div_ceil(size).max(1);
    if count > SEGMENTS_MAX {
        return Err(SegmentError::TooManySegments);
    }
    let partial = matches!(frame.meta.checksum, Checksum::Partial { .. });
    let headers = layout.headers(&frame)?;
    frame.advance(layout.payload);
    let mut payload = frame.into_body();
    packets.reserve(count);
    for index in 0..count {
        let body = payload.split_to(payload.len().min(size));
        let last = index + 1 == count;
        let mut packet = Frame::new(headers.clone());
        layout.write_headers(&mut packet.head, index, size, body.len(), last);
        packet.body = body;
        packet.meta.checksum = Checksum::Partial {
            // Below HEAD_MAX.
            start: layout.transport as u16,
            offset: layout.checksum as u16,
        };
        if !partial {
            complete_checksum(&mut packet)?;
        }
        packets.push(packet);
    }
    Ok(count)
}

/// Finishes a checksum that was left to be finished, and says in the metadata that it is
/// complete. Other frames stay as they are. At most the headers are copied.
///
/// # Errors
/// If the checksum's place is not in the frame, or beyond what a [`Head`] holds; then the
/// frame is unchanged.
pub fn complete_checksum(frame: &mut Frame) -> Result<(), SegmentError> {
    let Checksum::Partial { start, offset } = frame.meta.checksum else {
        return Ok(());
    };
    let start = usize::from(start);
    let field = start + usize::from(offset);
    if field + 2 > frame.len() {
        return Err(SegmentError::Malformed);
    }
    if !frame.pull_into_head(field + 2) {
        return Err(SegmentError::HeadersTooLong);
    }
    let mut sum = Sum::of(&frame.head[start..]);
    for slice in frame.body.slices() {
        sum.add(slice);
    }
    // Zero means "none" to UDP (RFC 768), so that it sends the other zero. No sum of anything comes
    // to that one, wherefore it looks wrong in the others.
    let checksum = match sum.checksum() {
        0 if offset == udp::CHECKSUM_OFFSET => 0xffff,
        checksum => checksum,
    };
    frame.head[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
    frame.meta.checksum = Checksum::Unverified;
    Ok(())
}

/// Where the headers of a super-frame lie: offsets from its start.
#[derive(Debug, Clone, Copy)]
struct Layout {
    kind: GsoKind,
    version: u8,
    network: usize,
    transport: usize,
    payload: usize,
    /// Of the checksum field, from `transport` on.
    checksum: usize,
    /// TCP: CWR is in the first packet only.
    cwr_once: bool,
}

const TCP: u8 = 6;
const UDP: u8 = 17;

impl Layout {
    /// Reads the headers, which are pulled together if they are not.
    fn of(frame: &mut Frame, link_header: usize, gso: Gso) -> Result<Self, SegmentError> {
        if gso.size == 0 {
            return Err(SegmentError::Malformed);
        }
        let network = network_offset(frame, link_header)?;
        let version = byte(frame, network)? >> 4;
        let (transport, protocol) = match version {
            4 => {
                let header_len = usize::from(byte(frame, network)? & 0xf) * 4;
                if header_len < 20 {
                    return Err(SegmentError::Malformed);
                }
                (network + header_len, byte(frame, network + 9)?)
            }
            6 => behind_extension_headers(frame, network)?,
            _ => return Err(SegmentError::Malformed),
        };
        let fits = match gso.kind {
            GsoKind::Tcp4 => version == 4 && protocol == TCP,
            GsoKind::Tcp6 => version == 6 && protocol == TCP,
            GsoKind::UdpL4 => protocol == UDP,
        };
        if !fits {
            return Err(SegmentError::Malformed);
        }
        let (header_len, checksum) = if protocol == TCP {
            let header_len = usize::from(byte(frame, transport + 12)? >> 4) * 4;
            if header_len < 20 {
                return Err(SegmentError::Malformed);
            }
            (header_len, 16)
        } else {
            (8, 6)
        };
        let payload = transport + header_len;
        if payload > frame.len() {
            return Err(SegmentError::Malformed);
        }
        if !frame.pull(payload) {
            return Err(SegmentError::HeadersTooLong);
        }
        Ok(Self {
            kind: gso.kind,
            version,
            network,
            transport,
            payload,
            checksum,
            cwr_once: gso.ecn,
        })
    }

    /// A copy of the headers. The frame was pulled, so they lie together.
    fn headers(&self, frame: &Frame) -> Result<Head, SegmentError> {
        let bytes = frame.linear().get(..self.payload);
        let mut headers = Head::new();
        headers
            .extend_from_slice(bytes.ok_or(SegmentError::Malformed)?)
            .map_err(|_| SegmentError::HeadersTooLong)?;
        Ok(headers)
    }

    /// Turns the super-frame's headers into those of its packet `index`, which has
    /// `body_len` bytes of payload; the checksum becomes the pseudo-header's sum.
    fn write_headers(
        &self,
        head: &mut Head,
        index: usize,
        size: usize,
        body_len: usize,
        last: bool,
    ) {
        let (before, transport) = head.split_at_mut(self.transport);
        let ip = &mut before[self.network..];
        let transport_len = transport.len() + body_len;
        let mut pseudo = Sum::ZERO;
        // Below 2^16 each: a packet is no longer than the super-frame's segment size and
        // HEAD_MAX, and one that is longer than its length field tells had none to fit.
        let field = |len: usize| u16::try_from(len).unwrap_or(0).to_be_bytes();
        if self.version == 4 {
            let ident = u16::from_be_bytes([ip[4], ip[5]]).wrapping_add(index as u16);
            let total_len = field(ip.len() + transport_len);
            ip[2..4].copy_from_slice(&total_len);
            ip[4..6].copy_from_slice(&ident.to_be_bytes());
            ip[10..12].fill(0);
            let checksum = Sum::of(ip).checksum();
            ip[10..12].copy_from_slice(&checksum.to_be_bytes());
            pseudo.add(&ip[12..20]);
        } else {
            let payload_len = field(ip.len() - 40 + transport_len);
            ip[4..6].copy_from_slice(&payload_len);
            pseudo.add(&ip[8..40]);
        }
        if self.kind == GsoKind::UdpL4 {
            transport[4..6].copy_from_slice(&field(transport_len));
            pseudo.add_u16(UDP.into());
        } else {
            let offset = (index * size) as u32;
            let seq = u32::from_be_bytes([transport[4], transport[5], transport[6], transport[7]]);
            transport[4..8].copy_from_slice(&seq.wrapping_add(offset).to_be_bytes());
            if !last {
                // FIN and PSH belong to the end of the data.
                transport[13] &= !0x09;
            }
            if index > 0 && self.cwr_once {
                // CWR is said once (RFC 3168, 6.1.2). Where the flag is not set it is a bit of a
                // counter, which every packet tells (RFC 9768, 3.3).
                transport[13] &= !0x80;
            }
            pseudo.add_u16(TCP.into());
        }
        pseudo.add_u32(transport_len as u32);
        transport[self.checksum..self.checksum + 2].copy_from_slice(&pseudo.folded().to_be_bytes());
    }
}

/// Where the IP header begins: behind the link header and its VLAN tags, two at most.
fn network_offset(frame: &mut Frame, link_header: usize) -> Result<usize, SegmentError> {
    let mut offset = link_header;
    if link_header == 0 {
        return Ok(offset);
    }
    for _ in 0..2 {
        let type_low = byte(frame, offset - 1)?;
        let type_high = byte(frame, offset - 2)?;
        match (type_high, type_low) {
            (0x81, 0x00) | (0x88, 0xa8) => offset += 4,
            _ => break,
        }
    }
    Ok(offset)
}

/// Where the transport header begins, and what it is: behind the extension headers that
/// do not fragment or encrypt (RFC 8200, section 4).
fn behind_extension_headers(
    frame: &mut Frame,
    network: usize,
) -> Result<(usize, u8), SegmentError> {
    let mut protocol = byte(frame, network + 6)?;
    let mut offset = network + 40;
    // Hop-by-hop options, routing, destination options. Each is 8 bytes long at least, so
    // the limit of a head ends this.
    while matches!(protocol, 0 | 43 | 60) {
        protocol = byte(frame, offset)?;
        offset += usize::from(byte(frame, offset + 1)?) * 8 + 8;
    }
    Ok((offset, protocol))
}

fn byte(frame: &mut Frame, at: usize) -> Result<u8, SegmentError> {
    if at >= frame.len() {
        return Err(SegmentError::Malformed);
    }
    if at >= HEAD_MAX || !frame.pull(at + 1) {
        return Err(SegmentError::HeadersTooLong);
    }
    Ok(frame.linear()[at])
}

#[cfg(test)]
mod tests;
