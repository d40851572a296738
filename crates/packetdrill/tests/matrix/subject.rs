//! Who is tested: the stack or the kernel, with the post of every connection.

use std::collections::HashMap;

use crate::driver::{Segment, Tool};

/// The port that somebody listens on.
pub const LISTENING: u16 = 8080;
/// The port that nobody listens on.
pub const CLOSED: u16 = 8081;

pub struct Subject<'a> {
    pub tool: &'a Tool,
    listener: i32,
    /// What left, by the remote port.
    post: HashMap<u16, Vec<Segment>>,
    /// Connections that nobody asked for yet, by the remote port.
    accepted: HashMap<u16, i32>,
    next_port: u16,
    pause_micros: u32,
}

impl<'a> Subject<'a> {
    pub fn new(tool: &'a Tool, pause_micros: u32) -> Self {
        let listener = tool.socket(false);
        let address = format!("0.0.0.0:{LISTENING}");
        tool.bind(listener, &address).expect("bound");
        tool.listen_for(listener, 10_000).expect("listening");
        tool.nonblocking(listener);
        Self {
            tool,
            listener,
            post: HashMap::new(),
            accepted: HashMap::new(),
            next_port: 1_024,
            pause_micros,
        }
    }

    /// A remote port that was not used.
    pub fn port(&mut self) -> u16 {
        self.next_port += 1;
        self.next_port
    }

    pub fn inject(&self, segment: &Segment) {
        self.tool.inject(&segment.v4());
    }

    /// Lets pass what acknowledgements are delayed, but no retransmission timer: the kernel's are
    /// set to be long.
    pub fn pause(&mut self) {
        self.tool.sleep(self.pause_micros);
        self.sync();
    }

    /// Everything that was injected has had its effect, and what left is in the post.
    pub fn sync(&mut self) {
        for segment in self.tool.fence() {
            self.post.entry(segment.to).or_default().push(segment);
        }
    }

    /// What left for this remote port.
    pub fn take(&mut self, port: u16) -> Vec<Segment> {
        self.post.remove(&port).unwrap_or_default()
    }

    /// How many segments wait to be looked at.
    pub fn waiting(&self, port: u16) -> usize {
        self.post.get(&port).map_or(0, Vec::len)
    }

    /// Accepts all connections that there are.
    pub fn accept_all(&mut self) {
        while let Ok((fd, port)) = self.tool.accept_from(self.listener) {
            self.tool.nonblocking(fd);
            self.accepted.insert(port, fd);
        }
    }

    /// The accepted connection with this remote port.
    pub fn accepted(&mut self, port: u16) -> Option<i32> {
        self.accepted.remove(&port)
    }
}

impl Drop for Subject<'_> {
    fn drop(&mut self) {
        let _ = self.tool.close(self.listener);
    }
}
