//! A stack on its link, inside a runtime: frames in, events, frames out.

use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant as Clock};

use zcn_frame::{Capabilities, Frame};
use zcn_link::{Driver, Statistics};
use zcn_pool::{BufferPool, Hold, LocalPool, SharedBuf};
use zcn_stack::event::{Event, Readiness};
use zcn_stack::route::Route;
use zcn_stack::slab::Id;
use zcn_stack::tcp::State;
use zcn_stack::{ConfigError, Instant, InterfaceConfig, InterfaceId, SocketId, Stack};

use super::config::StackConfig;
use super::error::StackError;
use crate::runtime::cell::Guard;
use crate::table::Key;

/// Size of the buffers for what is sent by copying.
const BUFFER_BYTES: usize = 4096;
/// While the link takes nothing, it is asked again after this time at the latest.
const FULL_LINK: Duration = Duration::from_millis(1);
/// Batches that leave in one turn before the sockets of the kernel have theirs.
const BATCHES_OUT: usize = 32;

/// What the reactor knows a socket of the stack as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Stream(Key),
    Connecting(Key),
    Listener(Key),
    Datagram(Key),
}

/// Roles by the place of the socket in the stack's own table.
#[derive(Debug, Default)]
struct Roles(Vec<Option<(u32, Role)>>);

impl Roles {
    fn set(&mut self, id: Id, role: Role) {
        let index = id.index as usize;
        if self.0.len() <= index {
            self.0.resize(index + 1, None);
        }
        self.0[index] = Some((id.generation, role));
    }

    #[inline]
    fn get(&self, id: Id) -> Option<Role> {
        let &(generation, role) = self.0.get(id.index as usize)?.as_ref()?;
        (generation == id.generation).then_some(role)
    }

    fn clear(&mut self, id: Id) {
        if self.get(id).is_some() {
            self.0[id.index as usize] = None;
        }
    }
}

/// The stack, its link, and what is on the way between the two.
pub(crate) struct Hosted {
    pub(crate) stack: Stack,
    /// The stack's time, as of the last reading of the clock.
    pub(crate) now: Instant,
    /// Received slices that found no buffer to be copied to, or not one that was large enough.
    pub(crate) rests: BTreeMap<Id, SharedBuf>,
    interface: InterfaceId,
    driver: Box<dyn Driver>,
    born: Clock,
    batch: usize,
    received: Vec<Frame>,
    /// What the link had no room for yet, in order.
    leaving: VecDeque<Frame>,
    /// The last look at the link found nothing.
    quiet: bool,
    /// There is more to send than one turn may.
    unfinished: bool,
    connections: Roles,
    listeners: Roles,
    datagrams: Roles,
    /// Events of sockets that have no role are kept for whoever uses the stack itself.
    keeps_events: bool,
    events: VecDeque<Event>,
    /// Why the link is gone.
    gone: Option<io::Error>,
    /// Tasks that wait for that.
    mourners: Vec<Waker>,
}

impl Hosted {
    /// Reads the clock: for calls that may come long after the last turn.
    pub(crate) fn tick(&mut self) -> Instant {
        self.now = Instant::ZERO + self.born.elapsed();
        self.now
    }

    fn roles(&mut self, socket: SocketId) -> Option<(&mut Roles, Id)> {
        match socket {
            SocketId::Tcp(id) => Some((&mut self.connections, id)),
            SocketId::TcpListener(id) => Some((&mut self.listeners, id)),
            SocketId::Udp(id) => Some((&mut self.datagrams, id)),
            SocketId::Echo(_) => None,
        }
    }

    /// The next event of a socket without a role.
    pub(crate) fn take_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn lose(&mut self, error: io::Error) {
        if self.gone.is_none() {
            // A link through memory ends in order when its other end is dropped.
            if error.kind() == io::ErrorKind::BrokenPipe {
                tracing::debug!(%error, "the link of a stack has ended");
            } else {
                tracing::error!(%error, "the link of a stack is gone; its connections are cut");
            }
            self.gone = Some(error);
        }
        self.leaving.clear();
        self.quiet = true;
        self.unfinished = false;
    }
}

/// A stack inside a runtime, shared by the runtime and the stack's sockets.
///
/// The methods borrow it for their own time only and call no user code.
pub(crate) struct StackHost {
    hosted: RefCell<Hosted>,
    capabilities: Capabilities,
    /// How long its settings want the runtime to look for frames before it sleeps.
    pub(crate) spin: Duration,
}

impl fmt::Debug for StackHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackHost")
            .field("link", &self.capabilities)
            .finish_non_exhaustive()
    }
}

impl StackHost {
    /// Brings a stack up on a link that is open.
    ///
    /// # Errors
    /// What is wrong with the settings, and what helps.
    pub(crate) fn new(
        config: &StackConfig,
        driver: Box<dyn Driver>,
    ) -> Result<Rc<Self>, StackError> {
        if config.batch == 0 {
            return Err(StackError::Setting {
                setting: "batch",
                got: config.batch.to_string(),
                range: "at least 1",
            });
        }
        let kernel = &config.link.kernel_addresses;
        let ours = config.addresses.iter().map(|cidr| cidr.address());
        for address in ours {
            if kernel.iter().any(|cidr| cidr.address() == address) {
                return Err(ConfigError::AddressInUse(address).into());
            }
        }
        let pool = BufferPool::builder()
            .buffer_size(BUFFER_BYTES)
            .count(config.buffers)
            .build()?;
        let seed = match config.seed {
            Some(seed) => seed,
            None => random_seed()?,
        };
        let capabilities = *driver.capabilities();
        let (stack, interface) = build(config, pool.local(), &seed, capabilities)?;
        Ok(Rc::new(Self {
            hosted: RefCell::new(Hosted {
                stack,
                now: Instant::ZERO,
                rests: BTreeMap::new(),
                interface,
                driver,
                born: Clock::now(),
                batch: config.batch,
                received: Vec::with_capacity(config.batch),
                leaving: VecDeque::with_capacity(config.batch),
                quiet: false,
                unfinished: false,
                connections: Roles::default(),
                listeners: Roles::default(),
                datagrams: Roles::default(),
                keeps_events: false,
                events: VecDeque::new(),
                gone: None,
                mourners: Vec::new(),
            }),
            capabilities,
            spin: config.spin,
        }))
    }

    /// The stack, for a moment; what has foreign owners is let go of by the runtime afterwards.
    #[inline]
    pub(crate) fn borrow(&self) -> Guard<RefMut<'_, Hosted>> {
        Guard::new(self.hosted.borrow_mut(), Hold::new())
    }

    /// What the link can do.
    pub(crate) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The interface on the link.
    pub(crate) fn interface(&self) -> InterfaceId {
        self.borrow().interface
    }

    /// The link's counters.
    pub(crate) fn link_statistics(&self) -> Statistics {
        self.borrow().driver.statistics().clone()
    }

    /// The link's descriptor, readable after [`arm`](Self::arm) when frames are there.
    pub(crate) fn with_readiness<T>(&self, call: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
        call(self.borrow().driver.readiness())
    }

    /// Says who is told of a socket's events.
    pub(crate) fn set_role(&self, socket: SocketId, role: Role) {
        let mut hosted = self.borrow();
        if let Some((roles, id)) = hosted.roles(socket) {
            roles.set(id, role);
        }
    }

    /// Nobody is told any more.
    pub(crate) fn clear_role(&self, socket: SocketId) {
        let mut hosted = self.borrow();
        if let Some((roles, id)) = hosted.roles(socket) {
            roles.clear(id);
        }
    }

    /// From now on events of sockets that have no role are kept.
    pub(crate) fn keep_events(&self) {
        self.borrow().keeps_events = true;
    }

    /// Reads the clock for the calls to come.
    pub(crate) fn tick(&self) {
        self.borrow().tick();
    }

    /// Takes one batch of frames in, and does what is due. Whether the link is gone since.
    pub(crate) fn input(&self) -> bool {
        let mut hosted = self.borrow();
        let hosted = &mut *hosted;
        let had = hosted.gone.is_some();
        if !had {
            let outcome = hosted.driver.receive(&mut hosted.received, hosted.batch);
            hosted.quiet = hosted.received.is_empty();
            if let Err(error) = outcome {
                hosted.lose(error);
            }
        }
        let now = hosted.tick();
        // Frames that came before an error are still good.
        hosted
            .stack
            .handle_frames(now, hosted.interface, &mut hosted.received);
        if hosted.stack.poll_timeout().is_some_and(|due| due <= now) {
            hosted.stack.handle_timeout(now);
        }
        !had && hosted.gone.is_some()
    }

    /// Whether frames are there, for a loop that spins: one look at the link.
    pub(crate) fn look(&self) -> bool {
        let mut hosted = self.borrow();
        let hosted = &mut *hosted;
        if hosted.gone.is_some() {
            return false;
        }
        // An error is told again by the next receive.
        let _ = hosted.driver.receive(&mut hosted.received, hosted.batch);
        !hosted.received.is_empty()
    }

    /// The next socket with something to tell, and for what it is ready.
    pub(crate) fn next_event(&self) -> Option<(Role, Readiness)> {
        let mut hosted = self.borrow();
        loop {
            let event = hosted.stack.poll_event()?;
            let role = hosted.roles(event.socket);
            if let Some(role) = role.and_then(|(roles, id)| roles.get(id)) {
                return Some((role, event.readiness));
            }
            // One that nobody was told of yet finds out what there is by its first call.
            if hosted.keeps_events {
                hosted.events.push_back(event);
            }
        }
    }

    /// Sends until the stack has nothing to send, the link takes no more, or it has been enough
    /// for a turn. Whether the link is gone since.
    pub(crate) fn output(&self) -> bool {
        let mut hosted = self.borrow();
        let hosted = &mut *hosted;
        let now = hosted.tick();
        let had = hosted.gone.is_some();
        let outcome = hosted.send(now, had);
        if let Err(error) = outcome {
            hosted.lose(error);
        }
        !had && hosted.gone.is_some()
    }

    /// Gets ready for a sleep: from now on the next frame makes the descriptor readable. Whether
    /// there is something to do already.
    pub(crate) fn arm(&self) -> bool {
        let mut hosted = self.borrow();
        if hosted.gone.is_some() {
            return false;
        }
        let busy = !hosted.quiet || hosted.unfinished || !hosted.events.is_empty();
        // An error is told again by the next receive.
        busy || hosted.driver.arm().unwrap_or(true)
    }

    /// Whether the link had no room for everything.
    pub(crate) fn is_held_up(&self) -> bool {
        !self.borrow().leaving.is_empty()
    }

    /// When something is due, if nothing comes before.
    pub(crate) fn deadline(&self) -> Option<Clock> {
        let mut hosted = self.borrow();
        let hosted = &mut *hosted;
        let due = hosted.stack.poll_timeout().map(|due| {
            let since = due.saturating_duration_since(Instant::ZERO);
            // Beyond the clock's range is as good as never.
            hosted.born.checked_add(since)
        });
        let retry = (!hosted.leaving.is_empty()).then(|| Clock::now() + FULL_LINK);
        [due.flatten(), retry].into_iter().flatten().min()
    }

    /// Whether connections are left whose peers have not taken all that was sent to them.
    pub(crate) fn is_sending(&self) -> bool {
        let hosted = self.borrow();
        let stack = &hosted.stack;
        hosted.gone.is_none()
            && stack.tcp_connections().any(|id| {
                let ended = matches!(
                    stack.tcp_state(id),
                    Some(State::FinWait1 | State::Closing | State::LastAck)
                );
                ended || stack.tcp_unacknowledged(id) > 0
            })
    }

    /// Tasks to be told that the link is gone.
    pub(crate) fn take_mourners(&self) -> Vec<Waker> {
        std::mem::take(&mut self.borrow().mourners)
    }

    /// Why the link is gone, once it is.
    pub(crate) fn poll_link_gone(&self, context: &Context<'_>) -> Poll<io::Error> {
        let mut hosted = self.borrow();
        if let Some(error) = &hosted.gone {
            return Poll::Ready(copy_of(error));
        }
        let mourners = &mut hosted.mourners;
        if !mourners
            .iter()
            .any(|waker| waker.will_wake(context.waker()))
        {
            mourners.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// Why the link is gone.
    pub(crate) fn link_error(&self) -> Option<io::Error> {
        self.borrow().gone.as_ref().map(copy_of)
    }
}

impl Hosted {
    fn send(&mut self, now: Instant, gone: bool) -> io::Result<()> {
        let mut moved = false;
        self.unfinished = true;
        for _ in 0..BATCHES_OUT {
            let room = self.batch.saturating_sub(self.leaving.len());
            let polled = self
                .stack
                .poll_frames(now, self.interface, &mut self.leaving, room);
            if gone {
                self.leaving.clear();
            }
            if self.leaving.is_empty() {
                self.unfinished = false;
                break;
            }
            moved |= self.driver.transmit(&mut self.leaving)? > 0;
            if !self.leaving.is_empty() || polled < room {
                self.unfinished = false;
                break;
            }
        }
        if moved {
            self.driver.flush()?;
        }
        Ok(())
    }
}

/// The stack, with its interface and routes.
fn build(
    config: &StackConfig,
    pool: LocalPool,
    seed: &[u8; 32],
    capabilities: Capabilities,
) -> Result<(Stack, InterfaceId), StackError> {
    let now = Instant::ZERO;
    let mut stack = Stack::new(config.protocols.clone(), pool, seed, now);
    let mut settings = InterfaceConfig::new(capabilities, &config.addresses);
    settings.link_address = config.link.address;
    settings.mtu = config.link.mtu;
    let interface = stack.add_interface(now, &settings)?;
    for route in &config.routes {
        stack.add_route(Route {
            gateway: route.via,
            metric: route.metric,
            mtu: route.mtu,
            ..Route::on_link(route.to, interface)
        })?;
    }
    Ok((stack, interface))
}

fn random_seed() -> Result<[u8; 32], StackError> {
    let mut seed = [0; 32];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty()).map_err(|errno| {
        StackError::Kernel {
            action: "get a random seed",
            source: errno.into(),
        }
    })?;
    Ok(seed)
}

/// The same error once more: `io::Error` cannot be cloned.
fn copy_of(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
