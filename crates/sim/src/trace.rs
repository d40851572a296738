//! The history of a run, as one number and, if wanted, as text.

use std::fmt;
use std::hash::Hasher;
use std::time::Duration;

use siphasher::sip::SipHasher13;
use zcn_frame::{Frame, Medium};

use crate::link::NodeId;

/// Who reads the text of a trace, line by line.
pub type Lines = Box<dyn FnMut(&str)>;

/// Who is shown every frame that leaves a node: when, which one, and on what kind of link.
pub type Frames = Box<dyn FnMut(Duration, NodeId, Medium, &Frame)>;

/// Hashes everything that happens, in order: two runs with the same hash did the same.
pub struct Trace {
    hasher: SipHasher13,
    lines: Option<Lines>,
    frames: u64,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace")
            .field("hash", &self.hash())
            .field("frames", &self.frames)
            .finish_non_exhaustive()
    }
}

impl Trace {
    /// An empty history. Text goes to `lines`, if there is a reader.
    pub(crate) fn new(lines: Option<Lines>) -> Self {
        Self {
            // The keys are part of what a hash in a report means.
            hasher: SipHasher13::new_with_keys(0, 0),
            lines,
            frames: 0,
        }
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// How many frames were sent.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// A frame that left a node, or reached it.
    pub(crate) fn frame(&mut self, at: Duration, place: (usize, bool), frame: &Frame) {
        let (node, sent) = place;
        self.frames += u64::from(sent);
        self.hasher.write_u64(at.as_nanos() as u64);
        self.hasher.write_u64((node as u64) << 1 | u64::from(sent));
        self.hasher.write_u64(frame.len() as u64);
        self.hasher.write(&frame.head);
        for slice in frame.body.slices() {
            self.hasher.write(slice);
        }
    }

    /// Something else that happened; `text` is made only if somebody reads it.
    pub(crate) fn event(&mut self, at: Duration, number: u64, text: impl FnOnce() -> String) {
        self.hasher.write_u64(at.as_nanos() as u64);
        self.hasher.write_u64(number);
        self.say(at, text);
    }

    /// A line of text that is no part of the hash.
    pub(crate) fn say(&mut self, at: Duration, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines(&format!("{:.6} {}", at.as_secs_f64(), text()));
        }
    }
}
