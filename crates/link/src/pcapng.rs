//! Captures as pcapng files (draft-ietf-opsawg-pcapng), which Wireshark, tshark and tcpdump
//! read.

use std::io::{self, Write};
use std::time::Duration;

use zcn_frame::{Frame, Medium};

use crate::segment::{complete_checksum, segment};

/// Which way a frame went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Received.
    Inbound,
    /// Sent.
    Outbound,
}

/// How frames are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaptureOptions {
    /// Whether super-frames are cut into the packets that they stand for \[no\]: easier to
    /// read, and as they would be on a wire, but more of them than the stack saw.
    pub cut_super_frames: bool,
    /// Most bytes of each frame that are kept \[262144\].
    pub snap_len: u32,
}

impl Default for CaptureOptions {
    fn default() -> Self {
        Self {
            cut_super_frames: false,
            snap_len: 262_144,
        }
    }
}

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
/// Tells the byte order, which is that of the machine.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;

const OPTION_END: u16 = 0;
const OPTION_COMMENT: u16 = 1;
const SECTION_APPLICATION: u16 = 4;
const INTERFACE_NAME: u16 = 2;
const INTERFACE_TEXT: u16 = 3;
const INTERFACE_RESOLUTION: u16 = 9;
const PACKET_FLAGS: u16 = 2;
const STATISTICS_RECEIVED: u16 = 4;
const STATISTICS_DROPPED: u16 = 5;

const LINK_ETHERNET: u16 = 1;
const LINK_RAW: u16 = 101;

/// Longest text of an option; the rest of a longer one is cut off.
const TEXT_MAX: usize = 4096;

/// Writes one capture of one interface: a section header, the interface, then a block for
/// each frame.
///
/// Checksums that were left to the link are finished in what is written, so that readers
/// find no fault in them. Nothing is flushed but by [`finish`](Self::finish) and
/// [`flush`](Self::flush); give it a writer with a buffer.
#[derive(Debug)]
pub struct PcapngWriter<W> {
    out: W,
    options: CaptureOptions,
    link_header: usize,
    /// One block, put together before it is written.
    block: Vec<u8>,
    packets: Vec<Frame>,
    frames: u64,
}

impl<W: Write> PcapngWriter<W> {
    /// Begins a capture of the interface `name`, with a description.
    ///
    /// # Errors
    /// Whatever the writer answers.
    pub fn new(
        out: W,
        medium: Medium,
        name: &str,
        description: &str,
        options: CaptureOptions,
    ) -> io::Result<Self> {
        let mut this = Self {
            out,
            options,
            link_header: medium.header_len(),
            block: Vec::new(),
            packets: Vec::new(),
            frames: 0,
        };
        this.begin(SECTION_HEADER);
        this.put(&BYTE_ORDER.to_ne_bytes());
        // Version 1.0, and a length of the section that is not known.
        this.put(&1u16.to_ne_bytes());
        this.put(&0u16.to_ne_bytes());
        this.put(&u64::MAX.to_ne_bytes());
        this.option(
            SECTION_APPLICATION,
            concat!("zcn ", env!("CARGO_PKG_VERSION")).as_bytes(),
        );
        this.option(OPTION_END, &[]);
        this.end()?;

        let link_type = match medium {
            Medium::Ethernet { .. } => LINK_ETHERNET,
            Medium::Ip => LINK_RAW,
        };
        this.begin(INTERFACE_DESCRIPTION);
        this.put(&link_type.to_ne_bytes());
        this.put(&0u16.to_ne_bytes());
        this.put(&options.snap_len.to_ne_bytes());
        this.option(INTERFACE_NAME, name.as_bytes());
        this.option(INTERFACE_TEXT, description.as_bytes());
        // Ten to the minus nine seconds.
        this.option(INTERFACE_RESOLUTION, &[9]);
        this.option(OPTION_END, &[]);
        this.end()?;
        Ok(this)
    }

    /// Writes a frame that went by at `time` (since 1970, or since any other moment), with
    /// a comment if it has one.
    ///
    /// # Errors
    /// Whatever the writer answers; the file then ends in the middle of a block.
    pub fn write(
        &mut self,
        time: Duration,
        direction: Direction,
        frame: &Frame,
        comment: Option<&str>,
    ) -> io::Result<()> {
        let mut packets = std::mem::take(&mut self.packets);
        packets.clear();
        let cut = self.options.cut_super_frames
            && frame.meta.gso.is_some()
            && segment(frame.clone(), self.link_header, &mut packets).is_ok();
        if !cut {
            packets.push(frame.clone());
        }
        let result = packets
            .iter_mut()
            .try_for_each(|packet| self.write_packet(time, direction, packet, comment));
        packets.clear();
        self.packets = packets;
        result
    }

    fn write_packet(
        &mut self,
        time: Duration,
        direction: Direction,
        packet: &mut Frame,
        comment: Option<&str>,
    ) -> io::Result<()> {
        // What cannot be finished is shown as it is.
        let _ = complete_checksum(packet);
        let len = packet.len();
        let kept = len.min(self.options.snap_len as usize);
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.begin(ENHANCED_PACKET);
        // The first interface.
        self.put(&0u32.to_ne_bytes());
        self.put(&((nanos >> 32) as u32).to_ne_bytes());
        self.put(&(nanos as u32).to_ne_bytes());
        self.put(&(kept as u32).to_ne_bytes());
        self.put(&(len as u32).to_ne_bytes());
        let start = self.block.len();
        self.block.resize(start + kept, 0);
        packet.copy_to_slice(0, &mut self.block[start..]);
        self.pad();
        let flags: u32 = match direction {
            Direction::Inbound => 1,
            Direction::Outbound => 2,
        };
        self.option(PACKET_FLAGS, &flags.to_ne_bytes());
        if let Some(comment) = comment {
            self.option(OPTION_COMMENT, comment.as_bytes());
        }
        self.option(OPTION_END, &[]);
        self.frames += 1;
        self.end()
    }

    /// How many frames were written.
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// Flushes the writer.
    ///
    /// # Errors
    /// Whatever it answers.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Ends the capture with the interface's counters, and gives the writer back, flushed.
    /// A capture that ends without is as readable.
    ///
    /// # Errors
    /// Whatever the writer answers.
    pub fn finish(mut self, time: Duration, dropped: u64) -> io::Result<W> {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let frames = self.frames + dropped;
        self.begin(INTERFACE_STATISTICS);
        self.put(&0u32.to_ne_bytes());
        self.put(&((nanos >> 32) as u32).to_ne_bytes());
        self.put(&(nanos as u32).to_ne_bytes());
        self.option(STATISTICS_RECEIVED, &frames.to_ne_bytes());
        self.option(STATISTICS_DROPPED, &dropped.to_ne_bytes());
        self.option(OPTION_END, &[]);
        self.end()?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.put(&kind.to_ne_bytes());
        // The length, which `end` knows.
        self.put(&[0; 4]);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.block.extend_from_slice(bytes);
    }

    /// Everything begins at a multiple of four bytes.
    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        let value = &value[..value.len().min(TEXT_MAX)];
        self.put(&code.to_ne_bytes());
        // Below TEXT_MAX.
        self.put(&(value.len() as u16).to_ne_bytes());
        self.put(value);
        self.pad();
    }

    fn end(&mut self) -> io::Result<()> {
        let len = self.block.len() as u32 + 4;
        self.put(&len.to_ne_bytes());
        self.block[4..8].copy_from_slice(&len.to_ne_bytes());
        self.out.write_all(&self.block)
    }
}
