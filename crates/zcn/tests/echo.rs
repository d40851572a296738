//! Both faces echo, on both reactors.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream as StdStream};
use std::time::Duration;

use zcn::{
    Address, Buf, Conn, Handler, ReactorKind, Runtime, ServerOptions, TcpListener, TcpServer,
    TcpStream,
};

struct Echo;

impl Handler for Echo {
    type State = ();

    fn on_accept(&mut self, _: &mut Conn<'_>, _: &Address) -> Option<()> {
        Some(())
    }

    fn on_data(&mut self, conn: &mut Conn<'_>, (): &mut (), data: Buf) {
        conn.send(data)
            .expect("an echo is never refused while receiving goes on");
    }
}

fn any() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 % 251) as u8).collect()
}

fn talk(address: SocketAddr, len: usize) {
    let mut stream = StdStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let sent = pattern(len);
    let mut writer = stream.try_clone().unwrap();
    let copy = sent.clone();
    let thread = std::thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    thread.join().unwrap();
    assert_eq!(received.len(), sent.len());
    assert!(received == sent, "bytes differ");
}

fn kinds() -> [ReactorKind; 2] {
    [ReactorKind::Uring, ReactorKind::Epoll]
}

#[test]
fn callback_server_echoes_every_byte() {
    for kind in kinds() {
        let mut runtime = Runtime::builder().reactor(kind).build().unwrap();
        let server = TcpServer::bind(&runtime, any(), ServerOptions::default(), Echo).unwrap();
        let address = server.local_addr().ip().unwrap();
        let handle = runtime.handle();
        let client = std::thread::spawn(move || {
            for len in [1, 100, 5000, 8 << 20] {
                talk(address, len);
            }
            handle.stop();
        });
        runtime.run().unwrap();
        client.join().unwrap();
        runtime.run_for(Duration::from_millis(50)).unwrap();
        assert_eq!(server.stats().accepted, 4, "{kind:?}");
        assert_eq!(server.stats().panics, 0);
        assert_eq!(runtime.stats().connections, 0, "{kind:?}");
    }
}

#[test]
fn async_streams_echo_every_byte() {
    for kind in kinds() {
        let mut runtime = Runtime::builder().reactor(kind).build().unwrap();
        runtime
            .block_on(async {
                let listener = TcpListener::bind(any()).unwrap();
                let address = listener.local_addr();
                let server = zcn::spawn(async move {
                    let (stream, _) = listener.accept().await.unwrap();
                    while let Some(buf) = stream.recv().await.unwrap() {
                        stream.send(buf).await.unwrap();
                    }
                    stream.shutdown();
                    stream.flush().await.unwrap();
                });
                let stream = std::rc::Rc::new(TcpStream::connect(address).await.unwrap());
                let sent = pattern(3 << 20);
                let writer = stream.clone();
                let copy = sent.clone();
                let sending = zcn::spawn(async move {
                    writer.send_copy(&copy).await.unwrap();
                    writer.shutdown();
                });
                let mut received = Vec::new();
                while let Some(buf) = stream.recv().await.unwrap() {
                    received.extend_from_slice(&buf);
                }
                assert!(
                    received == sent,
                    "{kind:?}: {} of {}",
                    received.len(),
                    sent.len()
                );
                sending.await.unwrap();
                server.await.unwrap();
            })
            .unwrap();
    }
}

/// A task that sends without limit once took every buffer of the pool; then the echoes could not
/// be received, the server stopped reading, and both ends waited for ever.
#[test]
fn a_sender_without_limit_does_not_starve_the_receives() {
    for kind in kinds() {
        let mut runtime = Runtime::builder()
            .reactor(kind)
            .buffers(16)
            .receive_buffers(8)
            .build()
            .unwrap();
        let server = TcpServer::bind(&runtime, any(), ServerOptions::default(), Echo).unwrap();
        let address = server.local_addr().ip().unwrap();
        runtime
            .block_on(async move {
                let stream = std::rc::Rc::new(TcpStream::connect(address).await.unwrap());
                let writer = stream.clone();
                let sending = zcn::spawn(async move {
                    for _ in 0..20_000 {
                        writer.send_copy(&[7; 64]).await.unwrap();
                    }
                    writer.shutdown();
                });
                let mut received = 0;
                while let Some(buf) = stream.recv().await.unwrap() {
                    received += buf.len();
                }
                assert_eq!(received, 20_000 * 64, "{kind:?}");
                sending.await.unwrap();
            })
            .unwrap();
    }
}

/// Answers the first bytes with a megabyte and closes, while the peer is still sending.
struct AnswerAndClose;

impl Handler for AnswerAndClose {
    type State = ();

    fn on_accept(&mut self, _: &mut Conn<'_>, _: &Address) -> Option<()> {
        Some(())
    }

    fn on_data(&mut self, conn: &mut Conn<'_>, (): &mut (), _: Buf) {
        conn.send_copy(&pattern(1 << 20)).unwrap();
        conn.close();
    }
}

/// A close with unread input made the kernel reset the connection, and the reset discarded what
/// the peer had not read yet.
#[test]
fn a_close_while_the_peer_sends_loses_no_answer() {
    for kind in kinds() {
        let mut runtime = Runtime::builder().reactor(kind).build().unwrap();
        let server =
            TcpServer::bind(&runtime, any(), ServerOptions::default(), AnswerAndClose).unwrap();
        let address = server.local_addr().ip().unwrap();
        let handle = runtime.handle();
        let client = std::thread::spawn(move || {
            let mut stream = StdStream::connect(address).unwrap();
            stream.write_all(&[1; 200_000]).unwrap();
            std::thread::sleep(Duration::from_millis(200));
            let mut received = Vec::new();
            let outcome = stream.read_to_end(&mut received);
            handle.stop();
            (received, outcome)
        });
        runtime.run().unwrap();
        let (received, outcome) = client.join().unwrap();
        outcome.unwrap();
        assert!(
            received == pattern(1 << 20),
            "{kind:?}: {} bytes",
            received.len()
        );
    }
}

/// What was sent just before the end of `block_on` once never left.
#[test]
fn the_last_bytes_leave_before_the_runtime_goes() {
    for kind in kinds() {
        let listener = std::net::TcpListener::bind(any()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut runtime = Runtime::builder().reactor(kind).build().unwrap();
        runtime
            .block_on(async move {
                let stream = TcpStream::connect(address).await.unwrap();
                stream.send_copy(&pattern(100_000)).await.unwrap();
            })
            .unwrap();
        let reader = std::thread::spawn(move || {
            let mut received = Vec::new();
            listener
                .accept()
                .unwrap()
                .0
                .read_to_end(&mut received)
                .unwrap();
            received
        });
        drop(runtime);
        assert!(reader.join().unwrap() == pattern(100_000), "{kind:?}");
    }
}
