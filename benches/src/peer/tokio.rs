//! Echo on tokio's single-threaded runtime.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use zcn_measure::error::Result;
use zcn_measure::server::Seat;

use super::{RECEIVE_BYTES, cannot, listen};

pub(super) fn serve(seat: &Seat) -> Result<()> {
    let listener = listen(seat)?;
    listener
        .set_nonblocking(true)
        .map_err(cannot("make a listener non-blocking"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(cannot("build tokio's runtime"))?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).map_err(cannot("watch a listener"))?;
        loop {
            let (stream, _) = listener.accept().await.map_err(cannot("accept"))?;
            if seat.stopped() {
                return Ok(());
            }
            seat.meter().connection();
            tokio::spawn(echo(stream));
        }
    })
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; RECEIVE_BYTES];
    loop {
        let received = stream.read(&mut buffer).await?;
        if received == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..received]).await?;
    }
}
