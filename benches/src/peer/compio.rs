//! Echo on compio's io_uring driver.

use std::io;

use compio::driver::{DriverType, ProactorBuilder};
use compio::io::{AsyncRead, AsyncWriteExt};
use compio::net::{TcpListener, TcpStream};
use compio::runtime::RuntimeBuilder;
use zcn_measure::error::Result;
use zcn_measure::server::Seat;

use super::{RECEIVE_BYTES, cannot, listen};

/// Enough for every connection of the benchmarks to have its operation in one batch.
const ENTRIES: u32 = 4096;

pub(super) fn serve(seat: &Seat) -> Result<()> {
    let listener = listen(seat)?;
    let mut proactor = ProactorBuilder::new();
    proactor
        .driver_type(DriverType::IoUring)
        .capacity(ENTRIES)
        .single_issuer(true)
        .defer_taskrun(true)
        .taskrun_flag(true);
    let runtime = RuntimeBuilder::new()
        .with_proactor(proactor)
        .build()
        .map_err(cannot("build compio's runtime"))?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).map_err(cannot("watch a listener"))?;
        loop {
            let (stream, _) = listener.accept().await.map_err(cannot("accept"))?;
            if seat.stopped() {
                return Ok(());
            }
            seat.meter().connection();
            compio::runtime::spawn(echo(stream)).detach();
        }
    })
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(RECEIVE_BYTES);
    loop {
        let (received, filled) = stream.read(buffer).await.into();
        if received? == 0 {
            return Ok(());
        }
        let (sent, emptied) = stream.write_all(filled).await.into();
        sent?;
        buffer = emptied;
        buffer.clear();
    }
}
