//! The Rust side.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use zcn::{Address, Buf, Conn, ConnId, Handler, Runtime, ServerOptions, TcpServer};

use super::{CONNECTIONS, MESSAGE, RUN, Side};
use crate::harness::Result;

#[derive(Default)]
struct Seen {
    ids: RefCell<Vec<ConnId>>,
    first: Cell<Option<Instant>>,
    took: Cell<Option<Duration>>,
    count: Cell<usize>,
    bytes: Cell<usize>,
}

struct Count(Rc<Seen>);

impl Handler for Count {
    type State = ();

    fn on_accept(&mut self, conn: &mut Conn<'_>, _: &Address) -> Option<()> {
        self.0.ids.borrow_mut().push(conn.id());
        Some(())
    }

    fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), data: Buf) {
        let seen = &self.0;
        let count = seen.count.get();
        if count == 0 {
            seen.first.set(Some(Instant::now()));
        }
        if count == RUN - 1 {
            seen.took.set(seen.first.get().map(|first| first.elapsed()));
        }
        seen.count.set(count + 1);
        seen.bytes.set(seen.bytes.get() + data.len());
    }
}

pub struct Rust {
    runtime: Runtime,
    server: TcpServer,
    seen: Rc<Seen>,
}

impl Rust {
    pub fn new() -> Result<Self> {
        let runtime = Runtime::builder()
            .buffers(4 * CONNECTIONS)
            .receive_buffers(2 * CONNECTIONS as u16)
            .build()?;
        let seen = Rc::new(Seen::default());
        let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let handler = Count(seen.clone());
        let server = TcpServer::bind(&runtime, any, ServerOptions::default(), handler)?;
        Ok(Self {
            runtime,
            server,
            seen,
        })
    }
}

impl Side for Rust {
    fn port(&self) -> u16 {
        self.server.local_addr().ip().map_or(0, |ip| ip.port())
    }

    fn connections(&self) -> usize {
        self.seen.ids.borrow().len()
    }

    fn turn(&mut self) -> Result {
        self.runtime.poll(Duration::from_millis(1), usize::MAX)?;
        Ok(())
    }

    fn seen(&mut self) -> (usize, Option<Duration>) {
        (self.seen.count.replace(0), self.seen.took.take())
    }

    fn send(&mut self, index: usize) -> Result {
        let id = self.seen.ids.borrow()[index];
        Ok(self.runtime.send_copy(id, &MESSAGE)?)
    }

    fn send_buffer(&mut self, index: usize) -> Result {
        let id = self.seen.ids.borrow()[index];
        let mut buf = self.runtime.buffer().ok_or("no buffer")?;
        buf.extend_from_slice(&MESSAGE)?;
        Ok(self.runtime.send(id, buf)?)
    }
}
