//! Miners served.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use zcn::tls::TlsAcceptor;
use zcn::{TcpListener, TcpStream};
use zcn_stratum::client::ROLLING_MASK;
use zcn_stratum::inline::{Extranonce, JobId};
use zcn_stratum::reject::RejectReason;
use zcn_stratum::server::{Parked, ServerSession, VardiffConfig};
use zcn_stratum::v2::AuthoritySecret;
use zcn_stratum::{Job, Target};

use super::notice::{Find, PoolNotice};
use super::template::{Template, TemplateError};
use super::{v1, v2};
use crate::signal::Signal;
use crate::wire::Wire;

/// Bytes of the first extranonce and of the second.
const EXTRANONCE_1: usize = 4;
pub(super) const EXTRANONCE_2: usize = 4;
/// Sessions that wait to be resumed; the oldest are forgotten.
const MAX_PARKED: usize = 1024;
/// How long a miner may take to read what it is sent, and a handshake may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

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
    /// Makes connections of Stratum V1 TLS.
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
    /// Sessions that were resumed; Stratum V2 knows no such thing.
    pub resumed: u64,
}

type Sink = Box<dyn FnMut(PoolNotice<'_>)>;

/// A pool at work in the tasks of a [`zcn::Runtime`]. Clones are the same pool.
#[derive(Clone)]
pub struct PoolServer(Rc<Shared>);

pub(super) struct Shared {
    pub(super) settings: PoolSettings,
    address: SocketAddr,
    sink: RefCell<Sink>,
    pub(super) signal: Signal,
    stopped: Cell<bool>,
    current: RefCell<Option<(Arc<Job>, Rc<Template>)>>,
    /// The templates of the last jobs, for blocks found late.
    recent: RefCell<Vec<(JobId, Rc<Template>)>>,
    next_job: Cell<u64>,
    next_extranonce: Cell<u32>,
    pub(super) parked: RefCell<BTreeMap<String, (u64, Parked)>>,
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
        zcn::spawn(accept(listener, Door::V1, shared.clone()));
        Self(shared)
    }

    /// Serves miners of Stratum V2 as well, on a listener of their own; each of their connections
    /// is certified by `secret`. To be called on the runtime of the pool.
    pub fn serve_v2(&self, listener: TcpListener, secret: AuthoritySecret) {
        zcn::spawn(accept(listener, Door::V2(secret), self.0.clone()));
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

    /// Where it listens for miners of Stratum V1.
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
    pub(super) fn count(&self, change: impl FnOnce(&mut PoolStats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }

    pub(super) fn tell(&self, notice: PoolNotice<'_>) {
        // A sink that calls the pool may bring this about again; it is not told of that.
        if let Ok(mut sink) = self.sink.try_borrow_mut() {
            sink(notice);
        }
    }

    /// Extranonces of a connection that nobody else has: the number, and the bytes that it is.
    pub(super) fn draw_extranonce(&self) -> (u32, Extranonce) {
        let number = self.next_extranonce.get();
        self.next_extranonce.set(number.wrapping_add(1));
        let bytes = Extranonce::new(&number.to_be_bytes());
        (number, bytes.unwrap_or(Extranonce::EMPTY))
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    /// The job of the moment.
    pub(super) fn job(&self) -> Option<Arc<Job>> {
        let current = self.current.borrow();
        current.as_ref().map(|(job, _)| job.clone())
    }

    /// A share that is harder than a block would hide blocks, and be told of none.
    pub(super) fn max_difficulty(&self, job: &Job) -> f64 {
        let block = Target::from_compact(job.nbits).map_or(f64::MAX, |target| target.difficulty());
        block.max(self.settings.difficulty)
    }

    pub(super) fn park(&self, session: ServerSession) {
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

    pub(super) fn refused(&self, peer: SocketAddr, reason: RejectReason) {
        self.count(|stats| stats.refused += 1);
        self.tell(PoolNotice::Refused { peer, reason });
    }

    /// The template of a job that a block may still come of.
    pub(super) fn template(&self, job: &JobId) -> Option<Rc<Template>> {
        let recent = self.recent.borrow();
        let (_, template) = recent.iter().find(|(id, _)| id == job)?;
        Some(template.clone())
    }

    /// What a share is worth beyond its answer.
    pub(super) fn found(&self, peer: SocketAddr, found: &Find) {
        self.count(|stats| stats.accepted += 1);
        self.tell(PoolNotice::Share { peer, found });
        if !found.is_block {
            return;
        }
        self.count(|stats| stats.blocks += 1);
        let Some(template) = self.template(&found.job) else {
            tracing::error!(job = ?found.job, "a block was found of a job that is forgotten");
            return;
        };
        let (tag, extranonces) = (&self.settings.tag, EXTRANONCE_1 + EXTRANONCE_2);
        let Ok(job) = template.job(found.job, tag, extranonces, false) else {
            return;
        };
        let mut coinbase = Vec::new();
        job.write_coinbase(found.extranonce.as_bytes(), &[], &mut coinbase);
        let block = template.block(&found.header, &coinbase);
        self.tell(PoolNotice::Block {
            found,
            block: &block,
        });
    }
}

/// What is spoken on a listener.
#[derive(Clone)]
enum Door {
    V1,
    V2(AuthoritySecret),
}

async fn accept(listener: TcpListener, door: Door, shared: Rc<Shared>) {
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
                let (door, shared) = (door.clone(), shared.clone());
                zcn::spawn(async move {
                    serve(&shared, &door, stream, peer).await;
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

async fn serve(shared: &Shared, door: &Door, stream: TcpStream, peer: SocketAddr) {
    let done = match (door, &shared.settings.tls) {
        (Door::V2(secret), _) => v2::serve(shared, *secret, &Wire::Plain(stream), peer).await,
        (Door::V1, None) => v1::serve(shared, &Wire::Plain(stream), peer).await,
        (Door::V1, Some(acceptor)) => match zcn::timeout(PATIENCE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => v1::serve(shared, &Wire::Tls(Box::new(stream)), peer).await,
            Ok(Err(error)) => {
                tracing::info!(%peer, %error, "no handshake");
                return;
            }
            Err(_) => return,
        },
    };
    let cause = done.as_ref().err();
    shared.tell(PoolNotice::Left { peer, cause });
}
