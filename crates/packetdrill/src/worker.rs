//! The thread that owns the stack: it takes one call after the other, moves the clock, and
//! keeps the calls that wait.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, ThreadId};
use std::time::Duration;

use zcn_stack::Instant;

use crate::core::{Core, TICK};
use crate::errno::{Errno, Result, WOULD_BLOCK};
use crate::settings::Settings;

/// Virtual silence after which nothing is expected any more: longer than the longest wait
/// between two retransmissions.
const SILENCE_MAX: Duration = Duration::from_secs(130);
/// How long, in real time, the clock stands for a thread whose call has ended, until it
/// looks at the clock.
const COURTESY: Duration = Duration::from_millis(5);

/// How long a call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Not at all.
    Never,
    /// Until this time.
    Until(Instant),
    /// For ever.
    Forever,
}

impl Patience {
    /// Whether a call may wait no longer.
    pub(crate) fn is_over(self, now: Instant) -> bool {
        match self {
            Self::Never => true,
            Self::Until(until) => now >= until,
            Self::Forever => false,
        }
    }
}

type Call = Box<dyn FnOnce(&mut Core) + Send>;
/// Tries; `true` says that the answer was given. With `last` it has to be.
type Attempt = Box<dyn FnMut(&mut Core, bool) -> bool + Send>;
type Judge = Box<dyn FnOnce(&Core) -> Patience + Send>;

enum Message {
    Call(Call),
    Wait {
        thread: ThreadId,
        judge: Judge,
        attempt: Attempt,
    },
    Advance(Duration, Sender<()>),
    Receive(Sender<Option<(Instant, Vec<u8>)>>),
    Clock(ThreadId, Sender<Instant>),
    Stop,
}

struct Waiter {
    thread: ThreadId,
    until: Option<Instant>,
    attempt: Attempt,
}

struct Worker {
    core: Core,
    messages: Receiver<Message>,
    waiters: Vec<Waiter>,
    /// The thread that moves the clock. If it waits itself, the clock has to run.
    script: ThreadId,
}

/// The way to the thread.
#[derive(Debug)]
pub(crate) struct Handle {
    messages: Sender<Message>,
}

impl Handle {
    /// Starts the thread; the caller's is the script's.
    ///
    /// # Errors
    /// What to tell the user.
    pub(crate) fn start(settings: Settings) -> core::result::Result<Self, String> {
        let (messages, inbox) = channel();
        let (started, answer) = channel();
        let script = thread::current().id();
        let body = move || match Core::new(settings) {
            Ok(core) => {
                let _ = started.send(Ok(()));
                Worker {
                    core,
                    messages: inbox,
                    waiters: Vec::new(),
                    script,
                }
                .run();
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        };
        thread::Builder::new()
            .name("zcn-packetdrill".to_owned())
            .spawn(body)
            .map_err(|error| error.to_string())?;
        answer
            .recv()
            .unwrap_or_else(|_| Err("its thread ended at once".to_owned()))?;
        Ok(Self { messages })
    }

    fn ask<T>(&self, message: impl FnOnce(Sender<T>) -> Message) -> Result<T> {
        let (answer, answered) = channel();
        self.messages
            .send(message(answer))
            .map_err(|_| Errno(libc::EIO))?;
        answered.recv().map_err(|_| Errno(libc::EIO))
    }

    /// Runs `call` where the stack is.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Core) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.ask(|answer| {
            Message::Call(Box::new(move |core| {
                let _ = answer.send(call(core));
            }))
        })?
    }

    /// Tries until `attempt` answers something else than that it would block, or the
    /// patience that `judge` finds is at its end.
    pub(crate) fn wait<T: Send + 'static>(
        &self,
        judge: impl FnOnce(&Core) -> Patience + Send + 'static,
        mut attempt: impl FnMut(&mut Core) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let thread = thread::current().id();
        self.ask(|answer| Message::Wait {
            thread,
            judge: Box::new(judge),
            attempt: Box::new(move |core, last| match attempt(core) {
                Err(WOULD_BLOCK) if !last => false,
                result => {
                    let _ = answer.send(result);
                    true
                }
            }),
        })?
    }

    /// Lets time pass.
    pub(crate) fn advance(&self, length: Duration) -> Result<()> {
        self.ask(|answer| Message::Advance(length, answer))
    }

    /// The next packet that leaves, and when; `None` after a long silence.
    pub(crate) fn receive(&self) -> Result<Option<(Instant, Vec<u8>)>> {
        self.ask(Message::Receive)
    }

    /// The time, a microsecond later than at the last look.
    pub(crate) fn clock(&self) -> Result<Instant> {
        self.ask(|answer| Message::Clock(thread::current().id(), answer))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::Stop);
    }
}

impl Worker {
    fn run(mut self) {
        while let Ok(message) = self.messages.recv() {
            if !self.handle(message) {
                return;
            }
        }
    }

    /// Whether to go on.
    fn handle(&mut self, message: Message) -> bool {
        match message {
            Message::Call(call) => {
                call(&mut self.core);
                self.settle();
            }
            Message::Wait {
                thread,
                judge,
                attempt,
            } => self.wait(thread, judge, attempt),
            Message::Advance(length, answer) => {
                self.advance(self.core.now + length);
                let _ = answer.send(());
            }
            Message::Receive(answer) => {
                let departure = self.receive();
                let _ = answer.send(departure);
            }
            Message::Clock(_, answer) => {
                self.core.now += TICK;
                self.settle();
                let _ = answer.send(self.core.now);
            }
            Message::Stop => return false,
        }
        true
    }

    fn wait(&mut self, thread: ThreadId, judge: Judge, mut attempt: Attempt) {
        let patience = judge(&self.core);
        let done = attempt(&mut self.core, patience == Patience::Never);
        self.settle();
        if done {
            return;
        }
        let until = match patience {
            Patience::Until(until) => Some(until),
            _ => None,
        };
        if thread != self.script {
            self.waiters.push(Waiter {
                thread,
                until,
                attempt,
            });
            return;
        }
        // Nobody else moves the clock.
        let end = until.unwrap_or(self.core.now + SILENCE_MAX);
        loop {
            let last = self.core.now >= end;
            if attempt(&mut self.core, last) {
                self.settle();
                return;
            }
            self.step(end);
        }
    }

    /// Goes to the next deadline, at most to `end`, and does what is due there.
    fn step(&mut self, end: Instant) {
        let waiting = self.waiters.iter().filter_map(|waiter| waiter.until).min();
        let next = [self.core.deadline(), waiting].into_iter().flatten().min();
        let next = next.unwrap_or(end).max(self.core.now + TICK);
        self.core.now = next.min(end);
        self.settle();
    }

    fn advance(&mut self, end: Instant) {
        while self.core.now < end {
            self.step(end);
        }
    }

    fn receive(&mut self) -> Option<(Instant, Vec<u8>)> {
        let end = self.core.now + SILENCE_MAX;
        loop {
            if let Some(departure) = self.core.departure() {
                return Some(departure);
            }
            if self.core.now >= end {
                return None;
            }
            self.step(end);
        }
    }

    /// Lets the stack do what is due, and ends the calls that need wait no longer.
    fn settle(&mut self) {
        self.core.pump();
        let mut at = 0;
        while at < self.waiters.len() {
            let waiter = &mut self.waiters[at];
            let last = waiter.until.is_some_and(|until| until <= self.core.now);
            if !(waiter.attempt)(&mut self.core, last) {
                at += 1;
                continue;
            }
            let thread = self.waiters.remove(at).thread;
            self.core.pump();
            self.attend(thread);
            at = 0;
        }
    }

    /// Holds the clock until `thread`, whose call has ended, has looked at it: to it the
    /// call ends now, not when the machine next finds time for it.
    fn attend(&mut self, thread: ThreadId) {
        loop {
            match self.messages.recv_timeout(COURTESY) {
                Ok(message) => {
                    let looked = matches!(&message, Message::Clock(who, _) if *who == thread);
                    self.handle(message);
                    if looked {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}
