use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::server::ServerOptions;

/// A peer that writes 8 MiB before it reads fills every buffer on the way: the server has
/// to keep what its socket does not take, and to read on when there is room again.
#[test]
fn a_slow_reader_loses_nothing() {
    for server in [super::epoll(), super::blocking(), super::spin_receive()] {
        let running = server.start(&ServerOptions::default()).unwrap();
        let mut stream = TcpStream::connect(running.address()).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let pattern = crate::pattern::Pattern::new(0);
        let mut sent = vec![0; 8 << 20];
        pattern.fill(0, &mut sent);
        let writing = std::thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        std::thread::sleep(std::time::Duration::from_millis(20));
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        writing.join().unwrap();
        assert_eq!(back.len(), 8 << 20, "{}", server.name());
        assert_eq!(pattern.check(0, &back), Ok(()), "{}", server.name());
        let usage = running.stop().unwrap();
        assert_eq!((usage.connections, usage.errors), (1, 0));
        assert_eq!(usage.bytes, 8 << 20);
    }
}

#[test]
fn servers_stop_with_connections_open() {
    for server in [super::epoll(), super::blocking(), super::spin_receive()] {
        for spin in [None, Some(std::time::Duration::from_millis(1))] {
            let options = ServerOptions {
                spin,
                ..ServerOptions::default()
            };
            let running = server.start(&options).unwrap();
            let mut stream = TcpStream::connect(running.address()).unwrap();
            stream.write_all(b"here").unwrap();
            let mut back = [0; 4];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(&back, b"here");
            assert_eq!(running.stop().unwrap().bytes, 4, "{}", server.name());
        }
    }
}
