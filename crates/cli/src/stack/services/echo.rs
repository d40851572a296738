//! RFC 862: what comes goes back.

use zcn::SharedBuf;

use super::stream::{Received, Stream, Waiting};

/// An echo with what did not go back yet.
#[derive(Default)]
pub(super) struct Echo {
    unsent: Option<SharedBuf>,
}

impl Echo {
    pub(super) fn drive(&mut self, stream: &mut Stream<'_>) -> Waiting {
        self.exchange(stream).unwrap_or_else(|waiting| waiting)
    }

    /// While a slice waits to be sent nothing is received: that is the back-pressure.
    fn exchange(&mut self, stream: &mut Stream<'_>) -> Result<Waiting, Waiting> {
        loop {
            if let Some(bytes) = self.unsent.take() {
                stream.send(bytes, false, &mut self.unsent)?;
            }
            match stream.receive()? {
                Received::Data(bytes) => self.unsent = Some(bytes),
                // What is queued still leaves.
                Received::End => return Ok(Waiting::Nothing),
            }
        }
    }
}
