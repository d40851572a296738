//! Miners served.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zcn::tls::TlsAcceptor;
use zcn::{TcpListener, TcpStream};
use zcn_stratum::client::ROLLING_MASK;
use zcn_stratum::inline::{Extranonce, JobId};
use zcn_stratum::message::Subscribed;
use zcn_stratum::reject::RejectReason;
use zcn_stratum::server::{
    FoundShare, Parked, ServerConfig, ServerError, ServerEvent, ServerSession, VardiffConfig,
};
use zcn_stratum::{Job, Target};

use super::template::{Template, TemplateError};
use crate::signal::Signal;
use crate::wire::{Wire, Woken};

/// Bytes of the first extranonce and of the second.
const EXTRANONCE_1: usize = 4;
const EXTRANONCE_2: usize = 4;
/// Sessions that wait to be resumed; the oldest are forgotten.
const MAX_PARKED: usize = 1024;
/// How long a miner may take to read what it is sent, and a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Settings of a [`PoolServer`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolSettings {
    /// The difficulty to begin with.
    pub difficulty: f64,
    /// How it follows the miner, never above that of a block unless `difficulty` is; `None`
    /// leaves it.
    pub vardiff: Option<VardiffConfig>,
    /// Bits of the version that miners may roll.
    pub version_mask: u32,
    /// Words in the coinbase.
    pub tag: Vec<u8>,
    /// The first extranonce; those of later connections count up. A pool that starts anew
    /// should not repeat those of the one before.
    pub first_extranonce: u32,
    /// Connections at a time; more are closed at once.
    pub max_connections: usize,
    /// Makes connections TLS.
    pub tls: Option<TlsAcceptor>,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            difficulty: 1.0,
            vardiff: Some(VardiffConfig::default()),
            version_mask: ROLLING_MASK,
            tag: b"/zcn/".to_vec(),
            first_extranonce: 1,
            max_connections: 1024,
            tls: None,
        }
    }
}

/// Something that happened in a pool.
#[derive(Debug)]
#[non_exhaustive]
pub enum PoolNotice<'a> {
    /// A miner has subscribed.
    Subscribed {
        /// Its address.
        peer: SocketAddr,
        /// Name and version of its program.
        agent: &'a str,
    },
    /// A good share.
    Share {
        /// The miner's address.
        peer: SocketAddr,
        /// What it found.
        found: &'a FoundShare,
    },
    /// A share that was refused.
    Refused {
        /// The miner's address.
        peer: SocketAddr,
        /// Why.
        reason: RejectReason,
    },
    /// A whole block: to be handed to a node.
    Block {
        /// What was found.
        found: &'a FoundShare,
        /// Header and transactions, as [`Node::submit`](super::node::Node::submit) takes them.
        block: &'a [u8],
    },
    /// A miner is gone.
    Left {
        /// Its address.
        peer: SocketAddr,
        /// What it did, unless it went by itself.
        cause: Option<&'a ServerError>,
    },
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Miners that are connected.
    pub connections: usize,
    /// Good shares.
    pub accepted: u64,
    /// Shares that were refused.
    pub refused: u64,
    /// Blocks among the good ones.
    pub blocks: u64,
    /// Sessions that were resumed.
    pub resumed: u64,
}

type Sink = Box<dyn FnMut(PoolNotice<'_>)>;

/// A pool at work in the tasks of a [`zcn::Runtime`]. Clones are the same pool.
#[derive(Clone)]
pub struct PoolServer(Rc<Shared>);

struct Shared {
    settings: PoolSettings,
    address: SocketAddr,
    sink: RefCell<Sink>,
    signal: Signal,
    stopped: Cell<bool>,
    current: RefCell<Option<(Arc<Job>, Rc<Template>)>>,
    /// The templates of the last jobs, for blocks found late.
    recent: RefCell<Vec<(JobId, Rc<Template>)>>,
    next_job: Cell<u64>,
    next_extranonce: Cell<u32>,
    parked: RefCell<BTreeMap<String, (u64, Parked)>>,
    parkings: Cell<u64>,
    stats: Cell<PoolStats>,
}

/// Templates whose blocks may still come.
const RECENT: usize = 16;

impl fmt::Debug for PoolServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolServer")
            .field("address", &self.0.address)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl PoolServer {
    /// Serves whoever connects, until [`stop`](Self::stop). Miners wait for a template.
    /// `sink` is told what happens; it may call the pool.
    pub fn start(
        listener: TcpListener,
        settings: PoolSettings,
        sink: impl FnMut(PoolNotice<'_>) + 'static,
    ) -> Self {
        let shared = Rc::new(Shared {
            address: listener.local_addr(),
            sink: RefCell::new(Box::new(sink)),
            signal: Signal::default(),
            stopped: Cell::new(false),
            current: RefCell::new(None),
            recent: RefCell::new(Vec::new()),
            next_job: Cell::new(1),
            next_extranonce: Cell::new(settings.first_extranonce),
            parked: RefCell::new(BTreeMap::new()),
            parkings: Cell::new(0),
            stats: Cell::new(PoolStats::default()),
            settings,
        });
        zcn::spawn(accept(listener, shared.clone()));
        Self(shared)
    }

    /// Hands out work on a template to all miners. `clean` says that what they have counts for
    /// nothing any more, as with every new block.
    ///
    /// # Errors
    /// There is no job in it; miners keep what they have.
    pub fn set_template(&self, template: Template, clean: bool) -> Result<(), TemplateError> {
        let shared = &self.0;
        let number = shared.next_job.get();
        let id = JobId::new(format!("{number:x}").as_bytes()).unwrap_or(JobId::EMPTY);
        let tag = &shared.settings.tag;
        let job = template.job(id, tag, EXTRANONCE_1 + EXTRANONCE_2, clean)?;
        shared.next_job.set(number + 1);
        let template = Rc::new(template);
        let mut recent = shared.recent.borrow_mut();
        if recent.len() == RECENT {
            recent.remove(0);
        }
        recent.push((id, template.clone()));
        *shared.current.borrow_mut() = Some((Arc::new(job), template));
        shared.signal.ring();
        Ok(())
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.address
    }

    /// Counts since the start.
    pub fn stats(&self) -> PoolStats {
        self.0.stats.get()
    }

    /// Ends all connections, and the listening.
    pub fn stop(&self) {
        self.0.stopped.set(true);
        self.0.signal.ring();
    }
}

impl Shared {
    fn count(&self, change: impl FnOnce(&mut PoolStats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }

    fn tell(&self, notice: PoolNotice<'_>) {
        // A sink that calls the pool may bring this about again; it is not told of that.
        if let Ok(mut sink) = self.sink.try_borrow_mut() {
            sink(notice);
        }
    }

    fn session(&self) -> ServerSession {
        let number = self.next_extranonce.get();
        self.next_extranonce.set(number.wrapping_add(1));
        let extranonce_1 = Extranonce::new(&number.to_be_bytes()).unwrap_or(Extranonce::EMPTY);
        let extranonces = Subscribed {
            extranonce_1,
            extranonce_2_len: EXTRANONCE_2,
        };
        let mut config = ServerConfig::new(format!("{number:08x}"), extranonces);
        config.difficulty = self.settings.difficulty;
        config.vardiff = self.settings.vardiff;
        config.version_mask = self.settings.version_mask;
        ServerSession::new(config, Instant::now())
    }

    /// A share that is harder than a block would hide blocks, and be told of none.
    fn max_difficulty(&self, job: &Job) -> f64 {
        let block = Target::from_compact(job.nbits).map_or(f64::MAX, |target| target.difficulty());
        block.max(self.settings.difficulty)
    }

    fn park(&self, session: ServerSession) {
        let Some((name, parked)) = session.park() else {
            return;
        };
        let number = self.parkings.get();
        self.parkings.set(number + 1);
        let mut all = self.parked.borrow_mut();
        if all.len() >= MAX_PARKED {
            let oldest = all.iter().min_by_key(|(_, (number, _))| *number);
            if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                all.remove(&name);
            }
        }
        all.insert(name, (number, parked));
    }

    /// What a share is worth beyond its answer.
    fn found(&self, peer: SocketAddr, found: &FoundShare, session: &ServerSession) {
        self.count(|stats| stats.accepted += 1);
        self.tell(PoolNotice::Share { peer, found });
        if !found.is_block {
            return;
        }
        self.count(|stats| stats.blocks += 1);
        let recent = self.recent.borrow();
        let template = recent
            .iter()
            .find(|(id, _)| *id == found.share.job_id)
            .map(|(_, template)| template.clone());
        drop(recent);
        let Some(template) = template else { return };
        let extranonces = EXTRANONCE_1 + EXTRANONCE_2;
        let Ok(job) = template.job(found.share.job_id, &self.settings.tag, extranonces, false)
        else {
            return;
        };
        let mut coinbase = Vec::new();
        let extranonce_1 = session.extranonces().extranonce_1;
        let extranonce_2 = found.share.extranonce_2;
        job.write_coinbase(
            extranonce_1.as_bytes(),
            extranonce_2.as_bytes(),
            &mut coinbase,
        );
        let block = template.block(&found.header, &coinbase);
        self.tell(PoolNotice::Block {
            found,
            block: &block,
        });
    }
}

async fn accept(listener: TcpListener, shared: Rc<Shared>) {
    let mut heard = 0;
    while !shared.stopped.get() {
        let accepted = {
            let mut accepting = std::pin::pin!(listener.accept());
            std::future::poll_fn(|context| {
                if shared.signal.poll_heard(context, &mut heard).is_ready() {
                    return std::task::Poll::Ready(None);
                }
                accepting.as_mut().poll(context).map(Some)
            })
            .await
        };
        let room = shared.stats.get().connections < shared.settings.max_connections;
        match accepted {
            Some(Ok((stream, peer))) if room => {
                shared.count(|stats| stats.connections += 1);
                let shared = shared.clone();
                zcn::spawn(async move {
                    serve(&shared, stream, peer).await;
                    shared.count(|stats| stats.connections -= 1);
                });
            }
            Some(Ok(_)) | None => {}
            // Out of descriptors, most likely; they come back as miners go.
            Some(Err(error)) => {
                tracing::warn!(%error, "a miner could not be let in");
                zcn::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(shared: &Shared, stream: TcpStream, peer: SocketAddr) {
    let wire = match &shared.settings.tls {
        None => Wire::Plain(stream),
        Some(acceptor) => match zcn::timeout(PATIENCE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Wire::Tls(Box::new(stream)),
            Ok(Err(error)) => {
                tracing::info!(%peer, %error, "no handshake");
                return;
            }
            Err(_) => return,
        },
    };
    let mut session = shared.session();
    let cause = converse(shared, &wire, peer, &mut session).await.err();
    shared.park(session);
    let cause = cause.as_ref();
    shared.tell(PoolNotice::Left { peer, cause });
}

async fn converse(
    shared: &Shared,
    wire: &Wire,
    peer: SocketAddr,
    session: &mut ServerSession,
) -> Result<(), ServerError> {
    let mut heard = 0;
    let mut given: Option<Arc<Job>> = None;
    loop {
        tell(shared, peer, session);
        if shared.stopped.get() {
            return Ok(());
        }
        let current = shared.current.borrow().as_ref().map(|(job, _)| job.clone());
        if let Some(job) = current
            && given.as_ref().is_none_or(|given| !Arc::ptr_eq(given, &job))
        {
            session.set_max_difficulty(shared.max_difficulty(&job));
            session.announce(&job);
            given = Some(job);
        }
        let count = session.output().len();
        if wire.send(session.output(), PATIENCE).await.is_err() {
            return Ok(());
        }
        session.consume_output(count);
        let deadline = session.poll_timeout();
        match wire.wait(&shared.signal, &mut heard, deadline).await {
            Ok(Woken::Bytes(bytes)) => {
                let handled = session.handle_bytes(Instant::now(), &bytes);
                // What came before the fault counts.
                tell(shared, peer, session);
                handled?;
            }
            Ok(Woken::Signal) => {}
            Ok(Woken::Time) => session.handle_timeout(Instant::now())?,
            Ok(Woken::End) | Err(_) => return Ok(()),
        }
    }
}

/// Tells what the session has told, and answers what it asks.
fn tell(shared: &Shared, peer: SocketAddr, session: &mut ServerSession) {
    while let Some(event) = session.poll_event() {
        match event {
            ServerEvent::Subscribed { agent } => {
                let agent = &*agent;
                shared.tell(PoolNotice::Subscribed { peer, agent });
            }
            ServerEvent::Resume { session: name } => {
                let parked = shared.parked.borrow_mut().remove(&name);
                shared.count(|stats| stats.resumed += u64::from(parked.is_some()));
                session.resume(parked.map(|(_, parked)| (name, parked)));
            }
            // A pool of one's own lets everybody in.
            ServerEvent::Authorize { id, .. } => session.authorize(id, true),
            ServerEvent::Share(found) => shared.found(peer, &found, session),
            ServerEvent::Refused { reason, .. } => {
                shared.count(|stats| stats.refused += 1);
                shared.tell(PoolNotice::Refused { peer, reason });
            }
            _ => {}
        }
    }
}
