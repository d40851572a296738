//! Where frames are put that leave.

use std::collections::VecDeque;

use zcn_frame::Frame;

/// A growing row of frames: a `VecDeque`, which drivers take, or a `Vec`.
pub trait Frames: Extend<Frame> {
    /// Adds an empty frame at the end, to be written where it lies: a frame is so large that a
    /// move of it is felt.
    fn add(&mut self) -> &mut Frame;
}

impl Frames for VecDeque<Frame> {
    #[inline]
    fn add(&mut self) -> &mut Frame {
        self.push_back_mut(Frame::default())
    }
}

impl Frames for Vec<Frame> {
    #[inline]
    fn add(&mut self) -> &mut Frame {
        self.push_mut(Frame::default())
    }
}
