//! Names: from `host:port` to addresses, without ever blocking the loop.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::error::{Action, Error, Result};
use crate::runtime::time::timeout;

/// A name to look up and what came of it.
type Lookup = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Looks names up on helper threads of its own and hands the addresses back to the runtime that
/// asked.
///
/// Cheap to clone; clones share threads and queue. A lookup that finds all threads busy starts
/// another one, up to [`threads`](Self::threads), so that a name server which does not answer holds
/// up only the names behind that many; they end with the last clone. Addresses given as such need
/// no lookup and never wait.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
    limit: Duration,
    /// Ends the threads when the last clone is gone.
    _owner: Arc<Owner>,
}

struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.filled.notify_all();
    }
}

struct Shared {
    lookup: Box<Lookup>,
    queue_max: usize,
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arc<Request>>,
    /// Threads that live, and those of them that wait for a request.
    threads: usize,
    idle: usize,
    /// Most threads.
    most: usize,
    closed: bool,
}

struct Request {
    host: String,
    port: u16,
    answer: Mutex<Answer>,
}

enum Answer {
    Waiting(Option<Waker>),
    Here(io::Result<Vec<SocketAddr>>),
    /// Taken, or nobody wants it any more.
    Over,
}

impl Request {
    fn answer(&self) -> MutexGuard<'_, Answer> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lookups that wait behind those being made.
const QUEUE_MAX: usize = 256;

/// Lookups made at a time.
const THREADS: usize = 4;

/// Longer than a resolver takes that asks two servers twice.
const LIMIT: Duration = Duration::from_secs(15);

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("limit", &self.limit)
            .field("queued", &self.shared.lock().queue.len())
            .finish_non_exhaustive()
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self::system()
    }
}

impl Resolver {
    /// The system's resolver (`getaddrinfo`), shared by the whole process.
    pub fn system() -> Self {
        static SYSTEM: OnceLock<Resolver> = OnceLock::new();
        SYSTEM
            .get_or_init(|| Self::with(|host, port| Ok((host, port).to_socket_addrs()?.collect())))
            .clone()
    }

    /// A resolver that looks names up with `lookup`, which may block: it runs on threads of its own,
    /// several at a time.
    pub fn with(
        lookup: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            lookup: Box::new(lookup),
            queue_max: QUEUE_MAX,
            state: Mutex::new(State {
                most: THREADS,
                ..State::default()
            }),
            filled: Condvar::new(),
        });
        Self {
            _owner: Arc::new(Owner(shared.clone())),
            shared,
            limit: LIMIT,
        }
    }

    /// The same resolver with another time limit for a lookup, the wait in the queue included
    /// \[15 s\].
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Most lookups made at a time, each on a thread \[4\]; at least 1. Clones share the setting, and
    /// threads that live already stay.
    #[must_use]
    pub fn threads(self, most: usize) -> Self {
        self.shared.lock().most = most.max(1);
        self
    }

    /// The addresses of `host:port`, in the order in which they should be tried; at least one.
    ///
    /// Dropping the future gives the lookup up; one that has begun ends by itself and is
    /// forgotten.
    ///
    /// # Errors
    /// `target` is not a name and a port, the name is unknown, the time limit has passed, or too
    /// many lookups are waiting already.
    pub async fn resolve(&self, target: &str) -> Result<Vec<SocketAddr>> {
        let (host, port) = match parse(target)? {
            Target::Address(address) => return Ok(vec![address]),
            Target::Name(host, port) => (host, port),
        };
        let fail = |error| Error::new(Action::Resolve, target, error);
        let waiting = self.enqueue(host, port).map_err(fail)?;
        let answered = poll_fn(|context| {
            let mut answer = waiting.0.answer();
            if let Answer::Waiting(waker) = &mut *answer {
                *waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            match std::mem::replace(&mut *answer, Answer::Over) {
                Answer::Here(result) => Poll::Ready(result),
                _ => Poll::Ready(Err(io::ErrorKind::Interrupted.into())),
            }
        });
        let addresses = match timeout(self.limit, answered).await {
            Ok(result) => result.map_err(|error| {
                fail(error).hinted("`getent ahosts NAME` asks the system's resolver by hand")
            })?,
            Err(elapsed) => {
                return Err(fail(elapsed.into()).hinted(format!(
                    "the resolver did not answer within {:?}: are the servers in /etc/resolv.conf \
                     reachable?",
                    self.limit
                )));
            }
        };
        if addresses.is_empty() {
            let error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            return Err(fail(error));
        }
        Ok(alternate_families(addresses))
    }

    fn enqueue(&self, host: &str, port: u16) -> io::Result<Waiting> {
        let request = Arc::new(Request {
            host: host.to_owned(),
            port,
            answer: Mutex::new(Answer::Waiting(None)),
        });
        let mut state = self.shared.lock();
        if state.queue.len() >= self.shared.queue_max {
            // Those whose futures are gone need no place.
            state
                .queue
                .retain(|request| !matches!(*request.answer(), Answer::Over));
        }
        if state.queue.len() >= self.shared.queue_max {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        if state.queue.len() >= state.idle && state.threads < state.most {
            let shared = self.shared.clone();
            let started = std::thread::Builder::new()
                .name("zcn-resolve".to_owned())
                .spawn(move || shared.serve());
            match started {
                Ok(_) => state.threads += 1,
                // One of the others will come to it.
                Err(_) if state.threads > 0 => {}
                Err(error) => return Err(error),
            }
        }
        state.queue.push_back(request.clone());
        drop(state);
        self.shared.filled.notify_one();
        Ok(Waiting(request))
    }
}

/// A lookup that is given up when nobody waits for it any more.
struct Waiting(Arc<Request>);

impl Drop for Waiting {
    fn drop(&mut self) {
        *self.0.answer() = Answer::Over;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Arc<Request>> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(request) = state.queue.pop_front() {
                return Some(request);
            }
            state.idle += 1;
            state = self
                .filled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn serve(&self) {
        while let Some(request) = self.next() {
            if matches!(*request.answer(), Answer::Over) {
                continue;
            }
            let lookup = || (self.lookup)(&request.host, request.port);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(lookup))
                .unwrap_or_else(|_| Err(io::Error::other("the lookup function panicked")));
            let mut answer = request.answer();
            let waker = match &mut *answer {
                Answer::Waiting(waker) => waker.take(),
                // Given up meanwhile.
                _ => continue,
            };
            *answer = Answer::Here(result);
            drop(answer);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// What stands in front of a port.
#[derive(Debug, PartialEq, Eq)]
enum Target<'a> {
    Address(SocketAddr),
    Name(&'a str, u16),
}

fn parse(target: &str) -> Result<Target<'_>> {
    let wrong = |text: &str| {
        let error = io::Error::new(io::ErrorKind::InvalidInput, text);
        Err(Error::new(
            Action::Resolve,
            format_args!("{target:?}"),
            error,
        ))
    };
    if let Ok(address) = target.parse() {
        return Ok(Target::Address(address));
    }
    let Some((host, port)) = target.rsplit_once(':') else {
        return wrong("the port is missing: write name:port, 192.0.2.1:port or [2001:db8::1]:port");
    };
    if host.contains(':') || host.contains('[') {
        return wrong("an IPv6 address stands in brackets before its port: [2001:db8::1]:port");
    }
    let Ok(port) = port.parse() else {
        return wrong("the port is not a number from 0 to 65535");
    };
    if host.is_empty() {
        return wrong("the name before the port is missing");
    }
    if !host.is_ascii() {
        return wrong("the name is not ASCII: write it in its xn-- form");
    }
    // RFC 1035 2.3.4; a final dot says that the name is complete.
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.len() > 253 || name.split('.').any(|label| label.len() > 63) {
        return wrong("the name is too long: at most 253 characters, 63 between two dots");
    }
    let character = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    if !name
        .split('.')
        .all(|label| !label.is_empty() && label.bytes().all(character))
    {
        return wrong("a name consists of letters, digits, - and _, with single dots between");
    }
    Ok(Target::Name(host, port))
}

/// Alternates the two families, beginning with the first address's own (RFC 8305, section 4), so
/// that one broken family costs one attempt.
fn alternate_families(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut unique: Vec<SocketAddr> = Vec::with_capacity(addresses.len());
    for address in addresses {
        if !unique.contains(&address) {
            unique.push(address);
        }
    }
    let first_is_v6 = unique.first().is_some_and(SocketAddr::is_ipv6);
    let (mut ours, mut others): (VecDeque<_>, VecDeque<_>) = unique
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut ordered = Vec::with_capacity(ours.len() + others.len());
    while !ours.is_empty() || !others.is_empty() {
        ordered.extend(ours.pop_front());
        ordered.extend(others.pop_front());
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_addresses_or_names_with_a_port() {
        let address = |text: &str| Target::Address(text.parse().unwrap());
        assert_eq!(parse("127.0.0.1:80").unwrap(), address("127.0.0.1:80"));
        assert_eq!(parse("[::1]:80").unwrap(), address("[::1]:80"));
        assert_eq!(parse("localhost:1").unwrap(), Target::Name("localhost", 1));
        assert_eq!(parse("a.b.:1").unwrap(), Target::Name("a.b.", 1));
        let long = format!("{}:1", "a".repeat(64));
        for (wrong, what) in [
            ("localhost", "port is missing"),
            ("", "port is missing"),
            (":80", "name before the port is missing"),
            ("localhost:http", "port is not a number"),
            ("localhost:65536", "port is not a number"),
            ("::1:80", "brackets"),
            ("[::1", "brackets"),
            ("a..b:1", "single dots"),
            ("a b:1", "single dots"),
            ("a\0b:1", "single dots"),
            ("straße.example:1", "xn--"),
            (&long, "too long"),
        ] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(error.contains(what), "{wrong}: {error}");
            assert!(error.starts_with("cannot resolve"), "{error}");
        }
    }

    #[test]
    fn families_alternate_and_repeats_go() {
        let list = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        assert_eq!(
            alternate_families(list(&[
                "[::1]:1",
                "[::2]:1",
                "[::1]:1",
                "127.0.0.1:1",
                "127.0.0.2:1",
                "127.0.0.3:1"
            ])),
            list(&[
                "[::1]:1",
                "127.0.0.1:1",
                "[::2]:1",
                "127.0.0.2:1",
                "127.0.0.3:1"
            ])
        );
    }
}
