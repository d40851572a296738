//! The steady state allocates nothing: counted over 100,000 echoes on either face, and over 10,000 on a
//! stack of our own.
#![allow(unsafe_code)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use common::{any, builder, client, echo, for_each_reactor};
use zcn::stack::{LinkConfig, StackConfig};
use zcn::{Handle, ReactorKind, Runtime, Sleep, TcpListener, TcpStream};

thread_local! {
    /// Counts on this thread, unless it is negative.
    static COUNT: Cell<i64> = const { Cell::new(-1) };
}

struct Counting;

fn count() {
    // A thread that ends has nothing to count.
    let _ = COUNT.try_with(|count| {
        if count.get() >= 0 {
            count.set(count.get() + 1);
        }
    });
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CONNECTIONS: usize = 20;
const ECHOES: usize = 100_000;
const ECHOES_ON_A_STACK: usize = 10_000;

/// Ends the loop when the clients do, were it by a panic, which is then seen.
struct StopWhenGone(Handle);

impl Drop for StopWhenGone {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Runs the loop while clients have `ECHOES` messages echoed; how often the loop's thread allocated
/// meanwhile.
fn allocations(runtime: &mut Runtime, address: SocketAddr, echoes: usize) -> i64 {
    let end = StopWhenGone(runtime.handle());
    let thread = std::thread::spawn(move || {
        let StopWhenGone(handle) = &end;
        let mut streams: Vec<_> = (0..CONNECTIONS).map(|_| client(address)).collect();
        let mut round = |number: usize| {
            let message = [number as u8; 64];
            for stream in &mut streams {
                stream.write_all(&message).unwrap();
            }
            for stream in &mut streams {
                let mut answer = [0; 64];
                stream.read_exact(&mut answer).unwrap();
                assert_eq!(answer, message);
            }
        };
        // Until every queue and list has its size.
        (0..200).for_each(&mut round);
        handle.spawn(|| {
            COUNT.set(0);
            async {}
        });
        (0..echoes / CONNECTIONS).for_each(&mut round);
        handle.spawn(|| {
            let counted = COUNT.replace(-1);
            RESULT.set(counted);
            async {}
        });
    });
    runtime.run().unwrap();
    thread.join().unwrap();
    RESULT.get()
}

thread_local! {
    static RESULT: Cell<i64> = const { Cell::new(-1) };
}

/// Blocking and spinning, on either reactor.
fn for_each_loop(test: impl Fn(Runtime)) {
    for_each_reactor(|kind| {
        for sleep in [Sleep::Block, Sleep::Spin(Duration::from_micros(100))] {
            test(builder(kind).sleep(sleep).build().unwrap());
        }
    });
}

/// A task for every connection that echoes.
fn echo_with_tasks(runtime: &Runtime) -> SocketAddr {
    let listener = {
        let _current = runtime.enter();
        TcpListener::bind(any()).unwrap()
    };
    let address = listener.local_addr();
    runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            zcn::spawn(async move {
                while let Ok(Some(buf)) = stream.recv().await {
                    if stream.send(buf).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// The start's own task and the end's closures are allocated while counting.
const OF_THE_TEST: i64 = 12;

#[test]
fn a_hundred_thousand_echoes_through_callbacks_allocate_nothing() {
    for_each_loop(|mut runtime| {
        let kind = runtime.reactor_kind();
        let (_server, address) = echo(&runtime);
        let counted = allocations(&mut runtime, address, ECHOES);
        assert!(
            (0..=OF_THE_TEST).contains(&counted),
            "{kind:?}: {counted} allocations"
        );
    });
}

#[test]
fn a_hundred_thousand_echoes_through_tasks_allocate_nothing() {
    for_each_loop(|mut runtime| {
        let kind = runtime.reactor_kind();
        let address = echo_with_tasks(&runtime);
        let counted = allocations(&mut runtime, address, ECHOES);
        assert!(
            (0..=OF_THE_TEST).contains(&counted),
            "{kind:?}: {counted} allocations"
        );
    });
}

/// Both ends on a stack of the runtime's own; how often the loop's thread allocated.
fn allocations_on_a_stack(kind: ReactorKind, serve: impl FnOnce(&Runtime) -> SocketAddr) -> i64 {
    let mut config = StackConfig::new(LinkConfig::memory());
    // An address of IPv6 is told to switches, twice in the first second: that is not of the
    // connections, and when it is depends on the machine.
    config.protocols.link_local = false;
    let builder = Runtime::builder().reactor(kind).stack(config);
    let mut runtime = builder.build().unwrap();
    let address = serve(&runtime);
    runtime
        .block_on(async {
            let mut streams = Vec::new();
            for _ in 0..CONNECTIONS {
                streams.push(TcpStream::connect(address).await.unwrap());
            }
            let round = async |number: usize| {
                let message = [number as u8; 64];
                for stream in &streams {
                    stream.send_copy(&message).await.unwrap();
                }
                for stream in &streams {
                    let mut answer = [0; 64];
                    stream.read_exact(&mut answer).await.unwrap();
                    assert_eq!(answer, message);
                }
            };
            // Until every queue and list has its size.
            for number in 0..200 {
                round(number).await;
            }
            COUNT.set(0);
            for number in 0..ECHOES_ON_A_STACK / CONNECTIONS {
                round(number).await;
            }
            COUNT.replace(-1)
        })
        .unwrap()
}

#[test]
fn ten_thousand_echoes_through_callbacks_on_a_stack_allocate_nothing() {
    for_each_reactor(|kind| {
        let counted = allocations_on_a_stack(kind, |runtime| echo(runtime).1);
        assert_eq!(counted, 0, "{kind:?}");
    });
}

#[test]
fn ten_thousand_echoes_through_tasks_on_a_stack_allocate_nothing() {
    for_each_reactor(|kind| {
        let counted = allocations_on_a_stack(kind, echo_with_tasks);
        assert_eq!(counted, 0, "{kind:?}");
    });
}
