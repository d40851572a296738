//! Random schedules against a model of the bytes. The seed is printed; `ZCN_SEED` sets it.

mod common;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream as StdStream};
use std::time::Duration;

use common::{HANG, all_home, any, at_rest, builder, for_each_reactor, run_until};
use zcn::{
    Address, Buf, Conn, Handler, SendError, ServerOptions, SharedBuf, Sleep, TcpServer, WaterMarks,
    ZeroCopy,
};

/// Numbers that look random (SplitMix64, Steele, Lea and Flood 2014).
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// Echoes, in its own way: whole, in pieces, late, copied, with pauses; what is refused for want of
/// room is kept until there is some.
struct Moody {
    random: Random,
}

#[derive(Default)]
struct Kept {
    later: std::collections::VecDeque<SharedBuf>,
    ended: bool,
}

impl Kept {
    fn push(&mut self, conn: &mut Conn<'_>) {
        while let Some(slice) = self.later.pop_front() {
            match conn.send(slice) {
                Ok(()) => {}
                Err(SendError::Full(slice)) => {
                    self.later.push_front(slice);
                    return;
                }
                Err(_) => return self.later.clear(),
            }
        }
        if self.ended {
            conn.close();
        }
    }
}

impl Handler for Moody {
    type State = Kept;

    fn on_accept(&mut self, _: &mut Conn<'_>, _: &Address) -> Option<Kept> {
        Some(Kept::default())
    }

    fn on_data(&mut self, conn: &mut Conn<'_>, kept: &mut Kept, data: Buf) {
        let mut slice = SharedBuf::from(data);
        match self.random.below(4) {
            // Copied, unless there is no room or no buffer.
            0 if kept.later.is_empty() && conn.send_copy(&slice).is_ok() => return,
            1 => {
                let at = self.random.below(slice.len() + 1);
                let rest = slice.split_off(at);
                kept.later.push_back(slice);
                kept.later.push_back(rest);
            }
            2 => {
                // Pauses and goes on at once, or when a task of its own says so: never stuck.
                conn.pause();
                conn.resume();
                kept.later.push_back(slice);
            }
            _ => kept.later.push_back(slice),
        }
        kept.push(conn);
    }

    fn on_writable(&mut self, conn: &mut Conn<'_>, kept: &mut Kept) {
        kept.push(conn);
    }

    fn on_end(&mut self, conn: &mut Conn<'_>, kept: &mut Kept) {
        kept.ended = true;
        kept.push(conn);
    }
}

/// One client's life: what it sends comes back, unless it cuts the connection itself.
fn live(address: SocketAddr, mut random: Random) {
    for _ in 0..6 {
        let mut stream = StdStream::connect(address).unwrap();
        stream.set_read_timeout(Some(HANG)).unwrap();
        stream.set_write_timeout(Some(HANG)).unwrap();
        let len = match random.below(4) {
            0 => random.below(100),
            1 => random.below(20_000),
            _ => random.below(1_500_000),
        };
        let seed = random.below(1000);
        let sent = common::pattern(len, seed);
        let resets_at = (random.below(5) == 0).then(|| random.below(len + 1));
        let mut writer = stream.try_clone().unwrap();
        let (copy, mut moods) = (sent.clone(), random.clone());
        let writing = std::thread::spawn(move || {
            let mut at = 0;
            while at < copy.len() {
                if resets_at.is_some_and(|reset| reset <= at) {
                    return;
                }
                let end = (at + 1 + moods.below(70_000)).min(copy.len());
                if writer.write_all(&copy[at..end]).is_err() {
                    assert!(resets_at.is_some(), "cut off by the server");
                    return;
                }
                at = end;
                if moods.below(8) == 0 {
                    std::thread::sleep(Duration::from_micros(moods.below(500) as u64));
                }
            }
            if resets_at.is_none() {
                writer.shutdown(std::net::Shutdown::Write).unwrap();
            }
        });
        let mut received = Vec::new();
        let mut piece = vec![0; 1 + random.below(100_000)];
        let enough = resets_at.map_or(usize::MAX, |reset| reset / 2);
        while received.len() < enough {
            let count = stream.read(&mut piece).unwrap();
            if count == 0 {
                break;
            }
            let at = received.len();
            received.extend_from_slice(&piece[..count]);
            assert!(
                received[at..] == sent[at..received.len()],
                "other bytes came back"
            );
            if random.below(10) == 0 {
                std::thread::sleep(Duration::from_micros(random.below(1500) as u64));
            }
        }
        if resets_at.is_some() {
            socket2::SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
            let _ = stream.shutdown(std::net::Shutdown::Both);
        } else {
            assert_eq!(received.len(), sent.len(), "bytes were lost");
        }
        drop(stream);
        writing.join().unwrap();
    }
}

#[test]
fn random_schedules_lose_nothing_and_all_comes_home() {
    let seed = match std::env::var("ZCN_SEED") {
        Ok(text) => text.parse().expect("ZCN_SEED is a number"),
        Err(_) => std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64,
    };
    let _ = writeln!(io::stdout(), "ZCN_SEED={seed}");
    for_each_reactor(|kind| {
        let mut random = Random(seed);
        let spin = Sleep::Spin(Duration::from_micros(100));
        for (buffers, lent, size, entries, sleep, zero_copy) in [
            (1024, 512, 16384, 1024, Sleep::Block, ZeroCopy::Auto),
            (24, 8, 4096, 8, Sleep::Block, ZeroCopy::Auto),
            (256, 64, 32768, 64, Sleep::Block, ZeroCopy::Always),
            (256, 64, 16384, 64, spin, ZeroCopy::Auto),
            (24, 8, 4096, 8, spin, ZeroCopy::Always),
        ] {
            let mut runtime = builder(kind)
                .sleep(sleep)
                .zero_copy(zero_copy)
                .buffers(buffers)
                .receive_buffers(lent)
                .buffer_size(size)
                .ring_entries(entries)
                .build()
                .unwrap();
            let rest = at_rest(&mut runtime);
            let mut options = ServerOptions::default();
            options.marks = WaterMarks {
                high: 1 + random.below(100_000) as u32,
                low: 0,
            };
            options.max_connections = 1 + random.below(12);
            let moody = Moody {
                random: Random(random.next()),
            };
            let server = TcpServer::bind(&runtime, any(), options, moody).unwrap();
            let address = server.local_addr().ip().unwrap();
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    let random = Random(random.next());
                    std::thread::spawn(move || live(address, random))
                })
                .collect();
            run_until(&mut runtime, "clients", |_| {
                threads.iter().all(std::thread::JoinHandle::is_finished)
            });
            for thread in threads {
                thread.join().unwrap();
            }
            assert_eq!(server.stats().panics, 0, "{kind:?}");
            assert_eq!(server.stats().accepted, 48, "{kind:?}");
            all_home(&mut runtime, rest);
            assert_eq!(runtime.stats().reactor.stale_completions, 0);
        }
    });
}
