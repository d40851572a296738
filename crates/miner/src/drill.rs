//! A pool for measurements: one job after the other, and when each was sent.
//!
//! It runs on a thread of its own over the system's sockets, so that it takes no turn of the
//! runtime that is measured. Its difficulty is out of reach.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};
use zcn_stratum::inline::{Extranonce, JobId};
use zcn_stratum::message::Subscribed;
use zcn_stratum::server::{ServerConfig, ServerEvent, ServerSession};
use zcn_stratum::{Job, hex};

use crate::session::{Pool, PoolUrl, Protocol, SessionSettings};

/// Jobs whose time of sending is remembered.
const REMEMBERED: usize = 1024;
/// How often it looks for a miner, or for what that says before it is ready.
const LOOK: Duration = Duration::from_millis(1);
/// Shares of this are not found.
const DIFFICULTY: f64 = 1e12;

/// What is handed out.
#[derive(Clone, Copy, Debug)]
pub struct DrillOptions {
    /// Merkle branches of each job; at most 32.
    pub branches: usize,
    /// Time between jobs.
    pub interval: Duration,
    /// The core to run on; `None` leaves it to the system.
    pub core: Option<usize>,
}

struct Shared {
    begun: Instant,
    stop: AtomicBool,
    /// Nanoseconds from `begun` to when job number `n` was sent, at `n` modulo the length.
    ///
    /// Relaxed: the way of the job over the socket orders them.
    sent: Vec<AtomicU64>,
}

/// A pool that hands out jobs to one miner after the other. Ends when it is dropped.
pub struct Drill {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Drill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Drill({})", self.address)
    }
}

impl Drill {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// When there is no port, no thread, or the core is not allowed.
    pub fn start(options: DrillOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            stop: AtomicBool::new(false),
            sent: (0..REMEMBERED).map(|_| AtomicU64::new(0)).collect(),
        });
        let ours = shared.clone();
        let set = options.core.map(|core| {
            let mut set = CpuSet::new();
            set.set(core.min(CpuSet::MAX_CPU - 1));
            set
        });
        let thread = thread::Builder::new()
            .name("zcn-drill".to_owned())
            .spawn(move || {
                if let Some(set) = set
                    && let Err(error) = sched_setaffinity(None, &set)
                {
                    tracing::warn!(%error, "the pool for measurements is not on its core");
                }
                while !ours.stop.load(Ordering::Relaxed) {
                    match listener.accept() {
                        // A miner that goes makes room for the next.
                        Ok((stream, _)) => drop(serve(&ours, &options, stream)),
                        Err(_) => thread::sleep(LOOK),
                    }
                }
            })?;
        Ok(Self {
            address,
            shared,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A session with this pool and no other.
    pub fn session(&self) -> SessionSettings {
        let mut settings = SessionSettings::new(vec![Pool {
            url: PoolUrl {
                protocol: Protocol::V1,
                host: self.address.ip().to_string(),
                port: self.address.port(),
            },
            user: "drill".to_owned(),
            password: "x".to_owned(),
            pins: Vec::new(),
        }]);
        // More jobs than a pool in its senses has.
        settings.protocol.max_messages = u32::MAX;
        settings
    }

    /// When the job of that name was handed to the kernel; `None` for what is no job of this
    /// pool, or long ago.
    pub fn sent_at(&self, id: &JobId) -> Option<Instant> {
        let number = hex::decode_u32(id.as_bytes()).ok()? as usize;
        let after = self.shared.sent[number % REMEMBERED].load(Ordering::Relaxed);
        (after > 0).then(|| self.shared.begun + Duration::from_nanos(after))
    }
}

impl Drop for Drill {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has said so on standard error.
            let _ = thread.join();
        }
    }
}

/// Serves one miner until it is gone.
fn serve(shared: &Shared, options: &DrillOptions, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let extranonces = Subscribed {
        extranonce_1: Extranonce::new(&[8, 0, 0, 2]).unwrap_or(Extranonce::EMPTY),
        extranonce_2_len: 4,
    };
    let mut config = ServerConfig::new("drill", extranonces);
    (config.difficulty, config.vardiff) = (DIFFICULTY, None);
    let mut session = ServerSession::new(config, Instant::now());
    let mut buffer = [0; 4096];
    let (mut ready, mut number) = (false, 0_u32);
    while !shared.stop.load(Ordering::Relaxed) {
        thread::sleep(if ready { options.interval } else { LOOK });
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => session
                .handle_bytes(Instant::now(), &buffer[..count])
                .map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        while let Some(event) = session.poll_event() {
            match event {
                ServerEvent::Resume { .. } => session.resume(Instant::now(), None),
                ServerEvent::Authorize { id, .. } => {
                    session.authorize(Instant::now(), id, true);
                    ready = true;
                }
                _ => {}
            }
        }
        if ready {
            number = number.wrapping_add(1);
            let job = Arc::new(job(number, options.branches));
            session.announce(Instant::now(), &job);
            let sent = shared.begun.elapsed().as_nanos() as u64;
            shared.sent[number as usize % REMEMBERED].store(sent, Ordering::Relaxed);
        }
        // Little, to a miner that reads: it goes into the socket's buffer whole.
        stream.write_all(session.output())?;
        session.consume_output(session.output().len());
    }
    Ok(())
}

/// A job with everything new in it, of the size that pools' jobs have.
fn job(number: u32, branches: usize) -> Job {
    let [a, b, c, d] = number.to_be_bytes();
    Job {
        id: JobId::new(format!("{number:08x}").as_bytes()).unwrap_or(JobId::EMPTY),
        prev_hash: std::array::from_fn(|i| [a, b, c, d][i % 4] ^ i as u8),
        coinbase_1: vec![0x03; 60],
        coinbase_2: [[a, b, c, d].to_vec(), vec![0xc9; 116]].concat(),
        branches: vec![[d; 32]; branches],
        version: 0x2000_0000,
        nbits: 0x1924_95f8,
        ntime: 0x64b3_f3ec,
        clean: true,
    }
}
