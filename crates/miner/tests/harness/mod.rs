//! A session with its log, pools for it, and links that break. A "worker" here hands in shares of a
//! difficulty that any hash meets.

#![allow(dead_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use zcn::{Runtime, TcpListener, TcpStream};
use zcn_miner::ledger::{Durability, Ledger};
use zcn_miner::pool::{PoolServer, PoolSettings, Template};
use zcn_miner::session::{
    FoundShare, LedgerSettings, Lost, Notice, Pool, SessionHandle, SessionSettings, run,
};
use zcn_stratum::inline::Extranonce;

/// How long anything may take before a test counts as hung.
pub(crate) const HANG: Duration = Duration::from_secs(60);

/// Runs a task; fails when it hangs.
pub(crate) fn on_runtime(test: impl AsyncFnOnce()) {
    let mut runtime = Runtime::new().expect("a runtime");
    let done = runtime.block_on(async { zcn::timeout(HANG, test()).await });
    done.expect("no error").expect("no hang");
}

pub(crate) fn listen(address: SocketAddr) -> TcpListener {
    TcpListener::bind(address).expect("a free port")
}

/// Any port of a loopback address that nobody else has: what a test lets go of there, for a while,
/// is not taken by the tests beside it, whose miners and pools would talk to this one's.
pub(crate) fn any() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let [low, high, ..] = std::process::id().to_le_bytes();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    ([127, 64 | high & 0x3f, low, next], 0).into()
}

/// The address again, as soon as whoever had it is done with it.
pub(crate) async fn listen_again(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(_) => zcn::sleep(Duration::from_millis(2)).await,
        }
    }
}

/// Waits until a pool that was stopped has let go of its miners.
pub(crate) async fn emptied(server: &PoolServer) {
    while server.stats().connections > 0 {
        zcn::sleep(Duration::from_millis(2)).await;
    }
}

/// A pool whose shares cost nothing, with work on a block that nobody finds.
pub(crate) fn pool(listener: TcpListener, change: impl FnOnce(&mut PoolSettings)) -> PoolServer {
    let mut settings = PoolSettings::default();
    settings.difficulty = 1e-10;
    settings.vardiff = None;
    change(&mut settings);
    let server = PoolServer::start(listener, settings, |_| {});
    server.set_template(template(1), true).expect("a job");
    server
}

pub(crate) fn template(height: u32) -> Template {
    Template::synthetic(height, [height as u8; 32], 0x1d00_ffff, 1_700_000_000)
}

pub(crate) fn at(address: SocketAddr, scheme: &str) -> Pool {
    Pool {
        url: format!("{scheme}://{address}").parse().expect("a URL"),
        user: "me".to_owned(),
        password: "x".to_owned(),
        pins: Vec::new(),
    }
}

pub(crate) fn settings(pools: Vec<Pool>) -> SessionSettings {
    let mut settings = SessionSettings::new(pools);
    settings.retry = (Duration::from_millis(20), Duration::from_millis(200));
    settings.return_after = Duration::from_millis(50);
    settings
}

/// What became of each share: told once, or the test fails.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) handed_in: u32,
    pub(crate) told: BTreeMap<u32, &'static str>,
    pub(crate) ready: Vec<usize>,
    pub(crate) resumed: usize,
    pub(crate) causes: Vec<(usize, String)>,
    pub(crate) work: Option<FoundShare>,
    pub(crate) kept: usize,
    pub(crate) foreign: usize,
    /// Whether the latest job ended all before it.
    pub(crate) clean: bool,
}

/// A session in a task, with its log.
pub(crate) struct Miner {
    pub(crate) handle: SessionHandle,
    pub(crate) log: Rc<RefCell<Log>>,
    task: zcn::JoinHandle<()>,
}

impl Miner {
    pub(crate) fn start(settings: SessionSettings) -> Self {
        let handle = SessionHandle::new();
        let log: Rc<RefCell<Log>> = Rc::default();
        let (inner, noted) = (handle.clone(), log.clone());
        let task = zcn::spawn(async move {
            let mut sink = |notice: Notice<'_>| note(&mut noted.borrow_mut(), notice);
            run(settings, &inner, &mut sink).await.expect("pools");
        });
        Self { handle, log, task }
    }

    /// Hands in a share of the work of the moment, if there is any; whether there was.
    pub(crate) fn find(&self) -> bool {
        let mut log = self.log.borrow_mut();
        let Some(mut found) = log.work else {
            return false;
        };
        found.share.nonce = log.handed_in;
        log.handed_in += 1;
        self.handle.submit(found);
        true
    }

    pub(crate) fn count(&self, what: &str) -> usize {
        let log = self.log.borrow();
        log.told.values().filter(|&&told| told == what).count()
    }

    pub(crate) async fn until(&self, what: &str, done: impl Fn(&Log) -> bool) {
        let begun = Instant::now();
        while !done(&self.log.borrow()) {
            zcn::sleep(Duration::from_millis(2)).await;
            let log = self.log.borrow();
            assert!(
                begun.elapsed() < HANG / 2,
                "never: {what}; {:?} {:?}",
                log.told,
                log.causes
            );
        }
    }

    /// Hands in two hundred shares, some of them for jobs that were replaced on the same block:
    /// each is accepted, once.
    pub(crate) async fn find_two_hundred(&self, server: &PoolServer) {
        self.until("work", |log| log.work.is_some()).await;
        for round in 0..200 {
            self.find();
            if round % 50 == 0 {
                // Another job on the same block: what was found before counts.
                server.set_template(template(1), false).expect("a job");
                zcn::sleep(Duration::from_millis(1)).await;
            }
        }
        self.until("answers", |log| log.told.len() == 200).await;
        assert_eq!(self.count("accepted"), 200);
        assert_eq!(server.stats().accepted, 200);
    }

    /// Stops, and checks that every share was told of.
    pub(crate) async fn stop(self) -> Rc<RefCell<Log>> {
        self.handle.stop();
        self.task.await.expect("ran to its end");
        let log = self.log.borrow();
        assert_eq!(log.told.len(), log.handed_in as usize, "{:?}", log.told);
        drop(log);
        self.log
    }
}

/// Mines at the second of two pools until the first begins, then at the first until it is gone, and
/// at the second again.
pub(crate) async fn follow_the_first(
    pools: Vec<Pool>,
    begin_first: impl AsyncFnOnce() -> PoolServer,
    second: &PoolServer,
) {
    let miner = Miner::start(settings(pools));
    miner.until("the second pool", |log| log.ready == [1]).await;
    miner.until("work", |log| log.work.is_some()).await;
    assert!(miner.find());
    let first = begin_first().await;
    miner
        .until("the first pool", |log| log.ready == [1, 0])
        .await;
    miner
        .until("its work", |log| {
            log.work.is_some_and(|work| work.pool == 0)
        })
        .await;
    assert!(miner.find());
    miner.until("answers", |log| log.told.len() == 2).await;
    assert_eq!((first.stats().accepted, second.stats().accepted), (1, 1));
    // And once more the other way round, when the first is gone again.
    first.stop();
    miner
        .until("the second pool", |log| log.ready == [1, 0, 1])
        .await;
    let log = miner.stop().await;
    let causes = &log.borrow().causes;
    assert!(
        causes
            .iter()
            .any(|(pool, cause)| *pool == 1 && cause.contains("preferred")),
        "{causes:?}"
    );
}

/// Leaves every pool of the list but the last, which is good, after one try each.
pub(crate) async fn end_at_the_last(pools: Vec<Pool>) {
    let last = pools.len() - 1;
    let mut settings = settings(pools);
    // Each is tried once on the way down.
    settings.retry = (HANG, HANG);
    settings.return_after = HANG;
    let miner = Miner::start(settings);
    miner
        .until("the good pool", |log| log.ready == [last])
        .await;
    miner.until("work", |log| log.work.is_some()).await;
    assert!(miner.find());
    miner.until("an answer", |log| log.told.len() == 1).await;
    let log = miner.stop().await;
    let causes = &log.borrow().causes;
    let order: Vec<usize> = causes.iter().map(|(pool, _)| *pool).collect();
    assert_eq!(order, (0..=last).collect::<Vec<_>>(), "{causes:?}");
}

pub(crate) fn note(log: &mut Log, notice: Notice<'_>) {
    let mut tell = |share: &FoundShare, what| {
        let before = log.told.insert(share.share.nonce, what);
        assert_eq!(before, None, "share {} is told of twice", share.share.nonce);
    };
    match notice {
        Notice::Accepted { share, .. } => tell(share, "accepted"),
        Notice::Rejected { share, .. } => tell(share, "rejected"),
        Notice::Lost { share, why } => {
            tell(share, "lost");
            log.kept += usize::from(why == Lost::Kept);
        }
        Notice::Left { foreign, .. } => log.foreign = foreign,
        Notice::Ready { pool, resumed } => {
            log.ready.push(pool);
            log.resumed += usize::from(resumed);
        }
        Notice::Work { pool, work, .. } => {
            log.clean = work.job.clean;
            let extranonce_2 =
                Extranonce::new(&vec![0; work.extranonce_2_len]).expect("at most 32 bytes");
            log.work = Some(FoundShare {
                pool,
                extranonce_1: work.extranonce_1,
                prev_hash: work.job.prev_hash,
                share: work.share(extranonce_2, work.job.version, work.job.ntime, 0),
            });
        }
        Notice::Disconnected { pool, cause, .. } => log.causes.push((pool, cause.to_string())),
        _ => {}
    }
}

/// Carries bytes between a miner and a pool until `cut` is rung; the answers of the pool from
/// `deaf_after` shares on are lost with the connection.
pub(crate) async fn carry(miner: TcpStream, pool: SocketAddr, deaf: bool, life: Duration) {
    let Ok(pool) = TcpStream::connect(pool).await else {
        return;
    };
    let (miner, pool) = (Rc::new(miner), Rc::new(pool));
    let (from, to) = (miner.clone(), pool.clone());
    let up = zcn::spawn(async move {
        while let Ok(Some(bytes)) = from.recv().await {
            if to.send(bytes).await.is_err() {
                break;
            }
        }
    });
    let (from, to) = (pool.clone(), miner.clone());
    let begun = Instant::now();
    let down = zcn::spawn(async move {
        while let Ok(Some(bytes)) = from.recv().await {
            // Toward the end of its life a link loses what the pool says.
            if deaf && begun.elapsed() > life / 2 {
                continue;
            }
            if to.send(bytes).await.is_err() {
                break;
            }
        }
    });
    zcn::sleep(life).await;
    miner.abort();
    pool.abort();
    up.await;
    down.await;
}

/// A ledger of one test, removed in the end.
pub(crate) struct LedgerFile(pub(crate) PathBuf);

impl LedgerFile {
    pub(crate) fn new(test: &str) -> Self {
        let name = format!("zcn-session-{test}-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    pub(crate) fn settings(&self) -> LedgerSettings {
        LedgerSettings {
            path: self.0.clone(),
            durability: Durability::Kernel,
        }
    }

    pub(crate) fn open_shares(&self) -> usize {
        let opened = Ledger::open(&self.0, Durability::Kernel).expect("nobody has it");
        opened.1.len()
    }
}

impl Drop for LedgerFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A pool that says one thing again and again, whatever it hears. It has threads of its own: in
/// the runtime of the miner its words would take all buffers, and leave the miner none to speak.
pub(crate) fn parrot(says: Vec<u8>) -> SocketAddr {
    let listener = std::net::TcpListener::bind(any()).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let says = says.clone();
            // The hangup of the other side is what ends this.
            std::thread::spawn(
                move || {
                    while !says.is_empty() && stream.write_all(&says).is_ok() {}
                },
            );
        }
    });
    address
}
