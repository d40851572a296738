//! The pools in an application of its own: buffers, shared slices, `Bytes`, objects, an arena; and
//! a buffer of such a pool sent over a socket.
//!
//! ```text
//! cargo run -p zcn-examples --bin pool_integration
//! ```
#![allow(clippy::print_stdout)]

use bytes::Bytes;
use zcn::{Arena, Buf, BufferPool, FixedPool, HugePages, Runtime, SharedBuf, UnixStream};

/// A request as an application may keep it.
#[derive(Debug)]
struct Request {
    number: u32,
    body: SharedBuf,
}

type Failure = Box<dyn std::error::Error>;

/// A message with a header put in front of a body that is already there.
fn frame(pool: &BufferPool, body: &[u8]) -> Result<Buf, Failure> {
    let buf = pool.local().acquire().ok_or("no free buffer")?;
    let mut buf = buf.with_headroom(4);
    buf.extend_from_slice(body)?;
    buf.prepend(&u32::try_from(body.len())?.to_be_bytes())?;
    Ok(buf)
}

fn main() -> Result<(), Failure> {
    // One memory map; 64 buffers of a page each.
    let pool = BufferPool::builder()
        .buffer_size(4096)
        .count(64)
        .huge_pages(HugePages::Never)
        .build()?;

    let message = frame(&pool, b"first,second")?;
    println!(
        "framed {} bytes, {} buffer in use",
        message.len(),
        pool.stats().in_use
    );

    // Slices of one buffer, counted; the buffer goes home with the last of them.
    let mut rest = SharedBuf::from(message);
    let header = rest.split_to(4);
    let first = rest.split_to(5);
    rest.advance(1);
    println!(
        "header {:?}, parts {:?} and {:?}",
        &header[..],
        String::from_utf8_lossy(&first),
        String::from_utf8_lossy(&rest)
    );

    // Lent to code that knows only `Bytes`, without a copy.
    let bytes = Bytes::from(first);
    println!("as Bytes: {bytes:?}, {} buffer in use", pool.stats().in_use);

    // A bounded number of objects; a place is free again when its object is dropped.
    let requests = FixedPool::with_capacity(1)?;
    let request = requests.insert(Request {
        number: 1,
        body: rest,
    })?;
    println!("request {} of {} bytes", request.number, request.body.len());
    let refused = requests.insert(Request {
        number: 2,
        body: header,
    });
    println!("a second one is refused: {}", refused.is_err());
    drop((refused, request, bytes));
    println!("all dropped, {} buffers in use", pool.stats().in_use);

    // Scratch memory of one turn of work, given back at once.
    let mut arena = Arena::new();
    for round in 0..3_u32 {
        let words = arena.alloc_slice_copy(&[round; 100]);
        let sum: u32 = words.iter().sum();
        println!(
            "round {round}: sum {sum}, {} bytes of the arena",
            arena.used()
        );
        arena.reset();
    }

    // A buffer of the application's own pool travels like one of the runtime's.
    let mut runtime = Runtime::builder().buffers(64).receive_buffers(16).build()?;
    let answer = runtime.block_on(async {
        let (here, there) = UnixStream::pair()?;
        here.send(frame(&pool, b"over a socket")?).await?;
        let received = there.recv().await?.ok_or("the stream has ended")?;
        Ok::<_, Failure>(String::from_utf8_lossy(&received[4..]).into_owned())
    })??;
    println!("received: {answer}");
    runtime.run_once()?;
    println!("at the end {} buffers in use", pool.stats().in_use);
    Ok(())
}
