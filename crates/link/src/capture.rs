//! A driver whose frames are written to a capture.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zcn_frame::{Capabilities, Frame};

use crate::driver::Driver;
use crate::pcapng::{CaptureOptions, Direction, PcapngWriter};
use crate::statistics::Statistics;

/// A driver that writes every frame that passes it, both ways, to a pcapng capture.
///
/// Around [`Impaired`](crate::Impaired) it shows what the stack sees; inside of it, what
/// the link does. A capture that cannot be written any more (the disk is full) ends, and
/// the link goes on; [`on_failure`](Self::on_failure) tells at once, [`finish`](Self::finish) in
/// the end. A writer with a buffer is flushed
/// whenever the driver is about to sleep.
#[derive(Debug)]
pub struct Captured<D, W> {
    inner: D,
    writer: Option<PcapngWriter<W>>,
    error: Option<io::Error>,
    report: Option<Report>,
}

/// Who is told that a capture has ended early.
struct Report(Box<dyn FnOnce(&io::Error) + Send>);

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Report")
    }
}

impl<D: Driver, W: Write> Captured<D, W> {
    /// A capture of `inner` into `out`; `name` and `description` are those of the interface
    /// in the file.
    ///
    /// # Errors
    /// Whatever the writer answers.
    pub fn new(
        inner: D,
        out: W,
        name: &str,
        description: &str,
        options: CaptureOptions,
    ) -> io::Result<Self> {
        let medium = inner.capabilities().medium;
        let writer = PcapngWriter::new(out, medium, name, description, options)?;
        Ok(Self {
            inner,
            writer: Some(writer),
            error: None,
            report: None,
        })
    }

    /// Calls `report`, once, if the capture cannot be written any more.
    #[must_use]
    pub fn on_failure(mut self, report: impl FnOnce(&io::Error) + Send + 'static) -> Self {
        self.report = Some(Report(Box::new(report)));
        self
    }

    /// The driver inside.
    pub const fn inner(&self) -> &D {
        &self.inner
    }

    /// Ends the capture, and gives back the driver and the writer, flushed.
    ///
    /// # Errors
    /// The first error of the writer; the driver is dropped then.
    pub fn finish(mut self) -> io::Result<(D, W)> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let dropped = self.inner.statistics().drops_total();
        match self.writer.take() {
            Some(writer) => Ok((self.inner, writer.finish(now(), dropped)?)),
            // It is taken away only together with an error.
            None => Err(io::ErrorKind::Other.into()),
        }
    }

    /// What was recorded is in the file whenever the link's user sleeps.
    fn flush_writer(&mut self) {
        if let Some(writer) = &mut self.writer
            && let Err(error) = writer.flush()
        {
            self.fail(error);
        }
    }

    /// The capture ends here.
    fn fail(&mut self, error: io::Error) {
        self.writer = None;
        if let Some(Report(report)) = self.report.take() {
            report(&error);
        }
        self.error = Some(error);
    }

    fn record<'a>(&mut self, direction: Direction, frames: impl Iterator<Item = &'a Frame>) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        let time = now();
        for frame in frames {
            if let Err(error) = writer.write(time, direction, frame, None) {
                self.fail(error);
                return;
            }
        }
    }
}

fn now() -> Duration {
    // A clock before 1970 is not worth an error.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

impl<D: Driver, W: Write + Send> Driver for Captured<D, W> {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> io::Result<usize> {
        let before = into.len();
        let result = self.inner.receive(into, max);
        self.record(Direction::Inbound, into[before..].iter());
        result
    }

    fn transmit(&mut self, frames: &mut VecDeque<Frame>) -> io::Result<usize> {
        // Clones share the buffers; the driver takes the frames away.
        let copies: Vec<Frame> = frames.iter().cloned().collect();
        let before = frames.len();
        let result = self.inner.transmit(frames);
        let taken = before - frames.len();
        self.record(Direction::Outbound, copies[..taken].iter());
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.inner.readiness()
    }

    fn arm(&mut self) -> io::Result<bool> {
        self.flush_writer();
        self.inner.arm()
    }

    fn wait(&mut self, spin: Duration, timeout: Option<Duration>) -> io::Result<bool> {
        self.flush_writer();
        self.inner.wait(spin, timeout)
    }

    fn statistics(&mut self) -> &Statistics {
        self.inner.statistics()
    }
}
