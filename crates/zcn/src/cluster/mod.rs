//! One runtime per core, each on its own pinned thread.
//!
//! The cores share nothing. Peers are spread by the kernel ([`ListenGroup`]); what has to move from
//! one core to another goes through [`handoff`](crate::handoff) queues or [`Handle::spawn`].

mod listen;
mod stats;

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use self::listen::ListenGroup;
pub use self::stats::{ClusterStats, CoreStats};
use crate::error::{Action, Error, Result};
use crate::runtime::current;
use crate::{Handle, Runtime, RuntimeBuilder};

/// Which cores a cluster runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cores {
    All,
    /// The first so many that the process may use.
    Count(usize),
    List(Vec<usize>),
}

/// Settings of a [`Cluster`] to be.
#[derive(Clone, Debug)]
pub struct ClusterBuilder {
    cores: Cores,
    pin: bool,
    runtime: RuntimeBuilder,
    name: String,
    drain_limit: Duration,
}

impl Default for ClusterBuilder {
    fn default() -> Self {
        Self {
            cores: Cores::All,
            pin: true,
            runtime: RuntimeBuilder::default(),
            name: "zcn".to_owned(),
            drain_limit: Duration::from_secs(10),
        }
    }
}

impl ClusterBuilder {
    /// Runs on these cores, one runtime each \[all that the process may use\]. Listing a core twice is
    /// an error of [`start`](Self::start).
    #[must_use]
    pub fn cores(mut self, cores: impl Into<Vec<usize>>) -> Self {
        self.cores = Cores::List(cores.into());
        self
    }

    /// Runs on the first `count` cores that the process may use; without [`pinning`](Self::pin),
    /// on any number of threads.
    #[must_use]
    pub fn count(mut self, count: usize) -> Self {
        self.cores = Cores::Count(count);
        self
    }

    /// Whether each thread is pinned to its core \[it is\].
    #[must_use]
    pub fn pin(mut self, pin: bool) -> Self {
        self.pin = pin;
        self
    }

    /// Settings of each runtime; its `cpu` is set here.
    #[must_use]
    pub fn runtime(mut self, runtime: RuntimeBuilder) -> Self {
        self.runtime = runtime;
        self
    }

    /// What the threads are called, with a number behind it: `zcn-0`, `zcn-1`, … The system shows
    /// 15 characters.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How long connections may take to finish after [`Cluster::stop`]; then they are reset
    /// \[10 s\].
    #[must_use]
    pub fn drain_limit(mut self, limit: Duration) -> Self {
        self.drain_limit = limit;
        self
    }

    /// The core of each thread.
    fn plan(&self) -> Result<Vec<Option<usize>>> {
        let allowed = zcn_sys::affinity::allowed_cores()
            .map_err(|error| Error::bare(Action::Start, error))?;
        let wrong = |text: String| Err(Error::setting(Action::Start, text));
        let cores = match &self.cores {
            Cores::All => allowed,
            Cores::Count(0) => return wrong("count = 0 is out of range: at least 1 core".into()),
            Cores::Count(count) if !self.pin => return Ok(vec![None; *count]),
            Cores::Count(count) if *count > allowed.len() => {
                return wrong(format!(
                    "count = {count} is more than the cores this process may use, {allowed:?}: \
                     lower it, or do not pin the threads"
                ));
            }
            Cores::Count(count) => allowed[..*count].to_vec(),
            Cores::List(cores) if cores.is_empty() => {
                return wrong("the list of cores is empty".into());
            }
            Cores::List(cores) => {
                let mut listed = BTreeSet::new();
                if let Some(core) = cores.iter().find(|core| !listed.insert(**core)) {
                    return wrong(format!(
                        "core {core} is listed twice: two threads of a cluster on one core only \
                         take turns"
                    ));
                }
                cores.clone()
            }
        };
        let pin = self.pin;
        Ok(cores.into_iter().map(|core| pin.then_some(core)).collect())
    }

    /// Starts a thread and a runtime on every core, and calls `setup` in each with its position in
    /// the cluster. What `setup` answers (servers, listeners, anything that is to live as long as
    /// the runtime) stays on that thread until its end.
    ///
    /// # Errors
    /// A setting out of range; or a thread, a runtime or a setup that failed or panicked on one of
    /// the cores, which is named ([`Error::thread`]). The other threads have then been stopped.
    pub fn start<T: 'static>(
        self,
        setup: impl Fn(usize, &Runtime) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Cluster> {
        let plan = self.plan()?;
        let setup = Arc::new(setup);
        let stopper = Stopper {
            shared: Arc::new(Shared {
                reach: Mutex::default(),
                drain_limit: self.drain_limit,
            }),
        };
        let (report, reports) = mpsc::channel();
        let mut threads = Vec::with_capacity(plan.len());
        let mut failure = None;
        for (index, cpu) in plan.into_iter().enumerate() {
            let name = format!("{}-{index}", self.name);
            let mut builder = self.runtime.clone();
            if let Some(cpu) = cpu {
                builder = builder.cpu(cpu);
            }
            let core = Core {
                index,
                cpu,
                stopper: stopper.clone(),
            };
            let setup = setup.clone();
            let report = report.clone();
            let started = std::thread::Builder::new()
                .name(name.clone())
                .spawn(move || {
                    let thread_setup = |runtime: &Runtime| setup(index, runtime);
                    core.run(builder, thread_setup, report)
                });
            match started {
                Ok(thread) => threads.push(Thread { name, cpu, thread }),
                Err(error) => {
                    let failed = Error::new(Action::Start, format!("thread {name}"), error);
                    let hint = "fewer threads, or a higher limit of processes (`ulimit -u`)";
                    failure = Some(failed.hinted(hint));
                    break;
                }
            }
        }
        drop(report);
        let mut handles: Vec<Option<Handle>> = threads.iter().map(|_| None).collect();
        for (index, outcome) in reports {
            match outcome {
                Ok(handle) => handles[index] = Some(handle),
                Err(error) if failure.is_none() => {
                    failure = Some(error.on_thread(threads[index].title()));
                }
                Err(_) => {}
            }
        }
        let handles: Vec<Handle> = handles.into_iter().flatten().collect();
        if let Some(failure) = failure {
            // Nobody was told where they listen, so there is nothing to drain.
            handles.iter().for_each(Handle::stop);
            for thread in threads {
                // It was stopped because of the first failure, which is the one to tell.
                let _ = thread.thread.join();
            }
            return Err(failure);
        }
        Ok(Cluster {
            handles,
            threads,
            stopper,
        })
    }
}

/// One thread of a cluster, seen from outside.
struct Thread {
    name: String,
    cpu: Option<usize>,
    thread: JoinHandle<Result<CoreStats>>,
}

impl Thread {
    fn title(&self) -> String {
        match self.cpu {
            Some(cpu) => format!("thread {}, core {cpu}", self.name),
            None => format!("thread {}", self.name),
        }
    }
}

/// One thread of a cluster, seen from inside.
struct Core {
    index: usize,
    cpu: Option<usize>,
    stopper: Stopper,
}

impl Drop for Core {
    fn drop(&mut self) {
        // However this core has ended: a cluster with a core missing would serve only some of its
        // peers, so it ends as a whole.
        self.stopper.stop();
    }
}

type Report = (usize, Result<Handle>);

impl Core {
    fn run<T>(
        self,
        builder: RuntimeBuilder,
        setup: impl FnOnce(&Runtime) -> Result<T>,
        report: mpsc::Sender<Report>,
    ) -> Result<CoreStats> {
        // Whoever starts the cluster waits for the report of every thread, so it is there to hear.
        // It takes the sender along: its end is what ends the waiting.
        let index = self.index;
        let tell = move |outcome| {
            let _ = report.send((index, outcome));
            drop(report);
        };
        let mut runtime = match builder.build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tell(Err(error));
                return Err(gone());
            }
        };
        let ready = {
            let _entered = runtime.enter();
            catch_unwind(AssertUnwindSafe(|| setup(&runtime)))
        };
        let kept = match ready {
            Ok(Ok(kept)) => kept,
            Ok(Err(error)) => {
                tell(Err(error));
                return Err(gone());
            }
            Err(panic) => {
                let text = format!("the setup panicked: {}", message(panic.as_ref()));
                tell(Err(Error::bare(Action::Start, io::Error::other(text))));
                return Err(gone());
            }
        };
        self.stopper.shared.register(runtime.handle());
        tell(Ok(runtime.handle()));
        runtime.run()?;
        let stats = CoreStats {
            index: self.index,
            cpu: self.cpu,
            runtime: runtime.stats(),
        };
        let entered = runtime.enter();
        drop(kept);
        drop(entered);
        Ok(stats)
    }
}

/// Stands for an error that has been told already.
fn gone() -> Error {
    Error::bare(Action::Start, io::Error::other("the thread did not start"))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// Whom a stop reaches.
#[derive(Default)]
struct Reach {
    handles: Vec<Handle>,
    /// For a core that gets ready only after the stop.
    stopped: bool,
}

struct Shared {
    reach: Mutex<Reach>,
    drain_limit: Duration,
}

impl Shared {
    fn reach(&self) -> MutexGuard<'_, Reach> {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, handle: Handle) {
        let mut reach = self.reach();
        if reach.stopped {
            handle.stop();
        }
        reach.handles.push(handle);
    }
}

/// Stops a cluster from any thread, e.g. one that waits for a signal.
#[derive(Clone)]
pub struct Stopper {
    shared: Arc<Shared>,
}

impl fmt::Debug for Stopper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopper")
            .field("drain_limit", &self.shared.drain_limit)
            .finish_non_exhaustive()
    }
}

impl Stopper {
    /// As [`Cluster::stop`].
    pub fn stop(&self) {
        let limit = self.shared.drain_limit;
        let mut reach = self.shared.reach();
        reach.stopped = true;
        for handle in &reach.handles {
            handle.spawn(move || async move {
                if let Ok(inner) = current(Action::Start) {
                    if !inner.drain(limit).await {
                        tracing::warn!(?limit, "stopped with connections left");
                    }
                    inner.stop();
                }
            });
        }
    }
}

/// One runtime per core, each on its own pinned thread.
///
/// ```
/// use std::sync::Arc;
/// use zcn::{Cluster, ListenGroup, ServerOptions};
/// # use zcn::{Buf, Conn, Handler};
/// # struct Echo;
/// # impl Handler for Echo {
/// #     type State = ();
/// #     fn on_accept(&mut self, _: &mut Conn<'_>, _: &zcn::Address) -> Option<()> { Some(()) }
/// #     fn on_data(&mut self, conn: &mut Conn<'_>, _: &mut (), data: Buf) { conn.send(data).ok(); }
/// # }
///
/// let group = Arc::new(ListenGroup::new(([127, 0, 0, 1], 0)));
/// let shared = group.clone();
/// let cluster = Cluster::builder().start(move |_index, runtime| {
///     shared.serve(runtime, ServerOptions::default(), Echo)
/// })?;
/// println!("listening on {:?} with {} cores", group.local_addr(), cluster.len());
/// cluster.stop(); // usually by a `Stopper` in a signal's thread
/// cluster.join()?;
/// # Ok::<(), zcn::Error>(())
/// ```
///
/// Dropping it stops the cluster and waits for its end; errors are then only logged.
pub struct Cluster {
    handles: Vec<Handle>,
    threads: Vec<Thread>,
    stopper: Stopper,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("cores", &self.handles.len())
            .finish_non_exhaustive()
    }
}

/// How long a core may take to answer for its figures.
const STATS_LIMIT: Duration = Duration::from_secs(1);

// A cluster always has a core, so there is no `is_empty`.
#[allow(clippy::len_without_is_empty)]
impl Cluster {
    /// Settings for a new cluster.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    /// How many cores it runs on.
    pub fn len(&self) -> usize {
        self.handles.len()
    }

    /// A handle of each runtime, by position.
    pub fn handles(&self) -> &[Handle] {
        &self.handles
    }

    /// What the cores did so far. Waits at most a second for cores that are busy; do not call it
    /// on one of them, which could not answer meanwhile.
    pub fn stats(&self) -> ClusterStats {
        let (answer, answers) = mpsc::channel();
        for (index, handle) in self.handles.iter().enumerate() {
            let answer = answer.clone();
            let cpu = self.threads.get(index).and_then(|thread| thread.cpu);
            handle.spawn(move || {
                let runtime = current(Action::Start).ok().map(|inner| inner.stats());
                if let Some(runtime) = runtime {
                    // Too late for whoever asked; nobody is harmed.
                    let _ = answer.send(CoreStats {
                        index,
                        cpu,
                        runtime,
                    });
                }
                async {}
            });
        }
        drop(answer);
        let by = Instant::now() + STATS_LIMIT;
        let mut cores: Vec<CoreStats> = std::iter::from_fn(|| {
            let left = by.saturating_duration_since(Instant::now());
            answers.recv_timeout(left).ok()
        })
        .collect();
        cores.sort_by_key(|core| core.index);
        ClusterStats { cores }
    }

    /// Asks every core to end gracefully: servers stop listening and let their connections finish,
    /// tasks with a [`DrainSignal`](crate::DrainSignal) are told and waited for, and what is left
    /// after the builder's `drain_limit` is cut. Returns at once; [`join`](Self::join) waits.
    pub fn stop(&self) {
        self.stopper.stop();
    }

    /// Something that stops the cluster from another thread.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Waits until every core has ended, and answers what they did. Does not stop them: call
    /// [`stop`](Self::stop) before or elsewhere.
    ///
    /// # Errors
    /// A core whose runtime failed or whose thread panicked, named with the reason (the first, if
    /// several). The end of one core, by failure or by [`Handle::stop`], stops the others. A task
    /// or a handler that panics is no such end: it costs that task or connection.
    pub fn join(mut self) -> Result<ClusterStats> {
        self.join_threads()
    }

    fn join_threads(&mut self) -> Result<ClusterStats> {
        let mut stats = ClusterStats::default();
        let mut failure = None;
        for thread in std::mem::take(&mut self.threads) {
            let title = thread.title();
            let error = match thread.thread.join() {
                Ok(Ok(core)) => {
                    stats.cores.push(core);
                    continue;
                }
                Ok(Err(error)) => error,
                Err(panic) => {
                    let text = format!("a thread panicked: {}", message(panic.as_ref()));
                    Error::new(Action::Run, "the cluster", io::Error::other(text))
                }
            };
            let error = error.on_thread(title);
            tracing::error!(%error, "a core of the cluster has failed");
            failure.get_or_insert(error);
        }
        match failure {
            None => Ok(stats),
            Some(failure) => Err(failure),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.stop();
            // Logged there; a drop has nobody to tell.
            let _ = self.join_threads();
        }
    }
}
