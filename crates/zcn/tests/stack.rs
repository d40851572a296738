//! Sockets on stacks of our own: two halves in one runtime, two runtimes on one link, the link's
//! end.

mod common;

use std::rc::Rc;

use common::{HangGuard, builder, echo, pattern, reactors};
use zcn::stack::{LinkConfig, StackConfig};
use zcn::{ReactorKind, Runtime, SharedBuf, TcpStream, UdpSocket};

fn on_stack(kind: ReactorKind) -> Runtime {
    builder(kind)
        .stack(StackConfig::new(LinkConfig::memory()))
        .build()
        .unwrap()
}

#[test]
fn a_stack_talks_to_itself() {
    for kind in reactors() {
        let _guard = HangGuard::new(format!("on {kind:?}"));
        let mut runtime = on_stack(kind);
        assert!(runtime.net().is_stack());
        let (server, address) = echo(&runtime);
        runtime
            .block_on(async {
                let stream = TcpStream::connect(address).await.unwrap();
                let sent = pattern(3 << 20, 1);
                let mut received = Vec::new();
                let stream = Rc::new(stream);
                let writer = {
                    let (stream, sent) = (stream.clone(), sent.clone());
                    zcn::spawn(async move {
                        stream.send_copy(&sent).await.unwrap();
                        stream.shutdown();
                    })
                };
                while let Some(buf) = stream.recv().await.unwrap() {
                    received.extend_from_slice(&buf);
                }
                writer.await.unwrap();
                assert_eq!(received.len(), sent.len());
                assert!(received == sent);
            })
            .unwrap();
        assert_eq!(server.stats().accepted, 1);
    }
}

#[test]
fn datagrams_on_a_stack() {
    for kind in reactors() {
        let _guard = HangGuard::new(format!("on {kind:?}"));
        let mut runtime = on_stack(kind);
        runtime
            .block_on(async {
                let server = UdpSocket::bind(common::any()).unwrap();
                let client = UdpSocket::bind(common::any()).unwrap();
                client.connect(server.local_addr()).unwrap();
                client.send(SharedBuf::from_static(b"ping")).await.unwrap();
                let ping = server.recv().await.unwrap();
                assert_eq!(&ping.data[..], b"ping");
                server.send_to(ping.data, ping.peer).await.unwrap();
                assert_eq!(&client.recv().await.unwrap().data[..], b"ping");
            })
            .unwrap();
    }
}
