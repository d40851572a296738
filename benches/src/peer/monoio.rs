//! Echo on monoio's io_uring driver.

use std::io;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use zcn_measure::error::Result;
use zcn_measure::server::Seat;

use super::{RECEIVE_BYTES, cannot, listen};

/// Enough for every connection of the benchmarks to have its operation in one batch.
const ENTRIES: u32 = 4096;

pub(super) fn serve(seat: &Seat) -> Result<()> {
    let listener = listen(seat)?;
    let mut runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
        .with_entries(ENTRIES)
        .build()
        .map_err(cannot("build monoio's runtime"))?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).map_err(cannot("watch a listener"))?;
        loop {
            let (stream, _) = listener.accept().await.map_err(cannot("accept"))?;
            if seat.stopped() {
                return Ok(());
            }
            seat.meter().connection();
            monoio::spawn(echo(stream));
        }
    })
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(RECEIVE_BYTES);
    loop {
        let (received, filled) = stream.read(buffer).await;
        if received? == 0 {
            return Ok(());
        }
        let (sent, emptied) = stream.write_all(filled).await;
        sent?;
        buffer = emptied;
        buffer.clear();
    }
}
