//! The steady path of UDP allocates nothing: counted over 100,000 echoes. A test binary of its own,
//! because it counts with the process's allocator.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};

use zcn::{
    Datagram, DatagramHandler, ReactorKind, Runtime, UdpConn, UdpOptions, UdpServer, UdpSocket,
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; the counter is a plain cell of the
// calling thread, which allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

struct Echo;

impl DatagramHandler for Echo {
    fn on_datagram(&mut self, socket: &mut UdpConn<'_>, datagram: Datagram) {
        let peer = datagram.peer;
        socket.send_to(datagram.data, peer).expect("room");
    }
}

const BURST: usize = 8;

/// A burst there and back, `rounds` times.
async fn echoes(client: &UdpSocket, rounds: usize) {
    for _ in 0..rounds {
        for _ in 0..BURST {
            client.send_copy(b"0123456789abcdef", None).await.unwrap();
        }
        for _ in 0..BURST {
            assert_eq!(client.recv().await.unwrap().data.len(), 16);
        }
    }
}

/// Both faces take part: the server by callbacks, the client as a task, connected (its sends go
/// one by one) while the server's go in batches.
#[test]
fn a_hundred_thousand_echoes_allocate_nothing() {
    let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    for kind in [ReactorKind::Uring, ReactorKind::Epoll] {
        for coalesce in [false, true] {
            let mut runtime = Runtime::builder().reactor(kind).build().unwrap();
            let mut options = UdpOptions::default();
            options.coalesce = coalesce;
            options.max_datagram = 1500;
            let server = UdpServer::bind(&runtime, any, &options, Echo).unwrap();
            let to = server.local_addr();
            let counted = runtime
                .block_on(async {
                    let client = UdpSocket::bind_with(any, &options).unwrap();
                    client.connect(to).unwrap();
                    echoes(&client, 200).await;
                    let before = allocations();
                    echoes(&client, 100_000 / BURST).await;
                    allocations() - before
                })
                .unwrap();
            assert_eq!(counted, 0, "{kind:?}, coalesce {coalesce}");
            assert!(server.stats().received >= 100_000);
        }
    }
}
