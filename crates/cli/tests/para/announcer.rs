//! Tells pools of new blocks as a node does: a publisher of ZeroMQ (ZMTP 3.0, its makers' RFC 23)
//! with one topic.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

pub(crate) struct Announcer {
    pub(crate) address: SocketAddr,
    subscribers: Arc<Mutex<Vec<TcpStream>>>,
    sequence: u32,
}

impl Announcer {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let subscribers = Arc::<Mutex<Vec<TcpStream>>>::default();
        let met = subscribers.clone();
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                if greet(&mut stream).is_ok() {
                    met.lock().expect("no panic").push(stream);
                }
            }
        });
        Self {
            address,
            subscribers,
            sequence: 0,
        }
    }

    /// Tells of a block, by its hash as it is written: the last byte first.
    pub(crate) fn announce(&mut self, hash: [u8; 32]) {
        let frames = [
            &[MORE, 9][..],
            b"hashblock",
            &[MORE, 32],
            &hash,
            &[0, 4],
            &self.sequence.to_le_bytes(),
        ]
        .concat();
        self.sequence += 1;
        let mut subscribers = self.subscribers.lock().expect("no panic");
        subscribers.retain_mut(|stream| stream.write_all(&frames).is_ok());
    }
}

/// Flags of a frame.
const MORE: u8 = 1;
const COMMAND: u8 = 4;

/// Greetings without security, then who is who. What is subscribed to is not asked: there is one
/// topic.
fn greet(stream: &mut TcpStream) -> io::Result<()> {
    let mut greeting = [0; 64];
    (greeting[0], greeting[9], greeting[10]) = (0xff, 0x7f, 3);
    greeting[12..16].copy_from_slice(b"NULL");
    stream.write_all(&greeting)?;
    stream.read_exact(&mut greeting)?;
    let body = b"\x05READY\x0bSocket-Type\0\0\0\x03PUB";
    stream.write_all(&[COMMAND, body.len() as u8])?;
    stream.write_all(body)?;
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    stream.read_exact(&mut vec![0; head[1].into()])
}
