//! One transfer over one path.

use std::sync::Arc;
use std::time::{Duration, Instant};

use zcn::stack::IpCidr;
use zcn_link::{Impairments, MEMORY_FRAMES, Medium, MemoryLink, memory_capabilities};
use zcn_stack::tcp::congestion::Algorithm;

use super::ours::{self, Role};
use super::transfer::{Plan, Progress};
use super::{Settings, kernel};
use crate::failure::Failure;
use crate::network::{Host, Path};

/// Who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pair {
    KernelToKernel,
    OursToKernel,
    KernelToOurs,
}

impl Pair {
    pub(super) const ALL: [Self; 3] =
        [Self::KernelToKernel, Self::OursToKernel, Self::KernelToOurs];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::KernelToKernel => "kernel to kernel",
            Self::OursToKernel => "zcn to kernel",
            Self::KernelToOurs => "kernel to zcn",
        }
    }
}

/// How long anything that must come may take.
const HANG: Duration = Duration::from_secs(60);
/// What is sent at first is not counted: slow start, and neighbours looked for.
const WARM_UP: Duration = Duration::from_millis(500);

/// Transfers bulk data between a pair and answers bits per second: those received while
/// it was measured, or all bytes by the time they took.
///
/// # Errors
/// Namespaces are refused, a byte is wrong, or nothing moves.
pub(super) fn run(
    pair: Pair,
    settings: &Settings,
    plan: Plan,
    faults: &Impairments,
    seed: u64,
) -> Result<f64, Failure> {
    let progress = Arc::new(Progress::default());
    let (near, far) = (settings.near, settings.far);
    let (far_host, far_tap) = Host::with_tap(&[far], settings.mtu)?;
    let path_failed = |error| Failure::new("cannot make a path").because(error);
    // What is made first here is dropped last: the path before the links' users.
    let near_host;
    let mut stack = None;
    let path;
    let begun = Instant::now();
    if pair == Pair::KernelToKernel {
        let (host, near_tap) = Host::with_tap(&[near], settings.mtu)?;
        path = Path::between(near_tap, far_tap, faults, seed).map_err(path_failed)?;
        kernel::receive(&far_host, far.address(), plan, &progress)?;
        kernel::send(&host, far.address(), plan, &progress)?;
        near_host = Some(host);
    } else {
        let medium = Medium::Ethernet {
            address: [2, 0, 0, 0, 0, 1],
        };
        let capabilities = memory_capabilities(medium, settings.mtu);
        let (link, near_end) =
            MemoryLink::pair(capabilities, capabilities, MEMORY_FRAMES).map_err(path_failed)?;
        path = Path::between(near_end, far_tap, faults, seed).map_err(path_failed)?;
        let role = match pair {
            Pair::KernelToOurs => Role::Receiver,
            _ => {
                kernel::receive(&far_host, far.address(), plan, &progress)?;
                Role::Sender(far.address())
            }
        };
        stack = Some(ours::start(Box::new(link), near, role, plan, &progress)?);
        if pair == Pair::KernelToOurs {
            kernel::send(&far_host, near.address(), plan, &progress)?;
        }
        near_host = None;
    }
    let outcome = measure(&progress, &plan, settings.sample, begun);
    progress.stop();
    if let Some(thread) = stack {
        thread
            .join()
            .map_err(|_| Failure::new("the stack's thread panicked"))?;
    }
    drop(path);
    drop((near_host, far_host));
    outcome.map_err(|error| Failure::new(pair.name()).because(error))
}

fn measure(
    progress: &Progress,
    plan: &Plan,
    sample: Duration,
    begun: Instant,
) -> Result<f64, String> {
    let (received, seconds) = if plan.bytes.is_some() {
        let all = usize::from(plan.flows);
        progress.wait_until("the transfer", HANG, |progress| progress.finished() == all)?;
        (progress.received(), begun.elapsed())
    } else {
        progress.wait_until("the first byte", HANG, |progress| progress.received() > 0)?;
        progress.sleep(WARM_UP)?;
        let (before, start) = (progress.received(), Instant::now());
        progress.sleep(sample)?;
        // On a busy machine the sample may have been over before anybody had a turn.
        progress.wait_until("the next byte", HANG, |progress| {
            progress.received() > before
        })?;
        (progress.received() - before, start.elapsed())
    };
    Ok(received as f64 * 8.0 / seconds.as_secs_f64())
}

/// Transfers bulk data between two stacks of ours through memory, on one connection, for
/// `sample`. Answers the bytes received, each of them compared, and bits per second.
///
/// # Errors
/// A byte is wrong, or nothing moves.
pub(crate) fn through_memory(sample: Duration) -> Result<(u64, f64), Failure> {
    let Some((near, far)) = addresses(false) else {
        return Err(Failure::new("no addresses"));
    };
    let plan = Plan {
        flows: 1,
        congestion: Algorithm::default(),
        bytes: None,
    };
    let end = |last| {
        let address = [2, 0, 0, 0, 0, last];
        memory_capabilities(Medium::Ethernet { address }, 1500)
    };
    let (one, other) = MemoryLink::pair(end(1), end(2), MEMORY_FRAMES)
        .map_err(|error| Failure::new("cannot make a link through memory").because(error))?;
    let progress = Arc::new(Progress::default());
    let receiver = ours::start(Box::new(one), near, Role::Receiver, plan, &progress)?;
    let role = Role::Sender(near.address());
    let sender = ours::start(Box::new(other), far, role, plan, &progress)
        .inspect_err(|_| progress.stop())?;
    let outcome = measure(&progress, &plan, sample, Instant::now());
    progress.stop();
    for thread in [receiver, sender] {
        thread
            .join()
            .map_err(|_| Failure::new("a stack's thread panicked"))?;
    }
    let bits = outcome.map_err(|error| Failure::new("zcn to zcn").because(error))?;
    Ok((progress.received(), bits))
}

/// The addresses of both ends.
pub(super) fn addresses(v6: bool) -> Option<(IpCidr, IpCidr)> {
    let (near, far) = match v6 {
        false => ("10.77.0.1/24", "10.77.0.2/24"),
        true => ("fd77::1/64", "fd77::2/64"),
    };
    Some((near.parse().ok()?, far.parse().ok()?))
}
