//! Bytes on their way to the other side.

/// What was written and not yet sent; bounded, because a peer that asks and never reads could
/// make it grow.
#[derive(Debug)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    sent: usize,
    max: usize,
}

impl Output {
    pub(crate) fn new(max: usize) -> Self {
        let (bytes, sent) = (Vec::new(), 0);
        Self { bytes, sent, max }
    }

    /// Where lines are appended.
    pub(crate) fn lines(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What waits to be sent.
    pub(crate) fn waiting(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Forgets what was sent.
    ///
    /// # Panics
    /// When that is more than waits.
    pub(crate) fn consume(&mut self, count: usize) {
        assert!(count <= self.waiting().len(), "{count} bytes never written");
        self.sent += count;
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        }
    }

    /// Whether more waits than may.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting().len() > self.max
    }
}
