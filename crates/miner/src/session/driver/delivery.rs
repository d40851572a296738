//! Shares on their way: from the workers into the ledger and the queue, and from there to the pool
//! that they are for.

use std::time::Instant;

use zcn_stratum::client::SubmitError;

use super::{Current, Driver};
use crate::ledger::LedgerError;
use crate::session::Notice;
use crate::session::book::Book;
use crate::session::shares::{FoundShare, Lost, Waiting};

impl Driver<'_> {
    /// Takes up the shares that the program before has left.
    pub(super) fn open_book(&mut self) -> Result<(), LedgerError> {
        let settings = self.settings.clone();
        let Some(ledger) = &settings.ledger else {
            return Ok(());
        };
        let (book, left) = Book::open(ledger, &settings.pools)?;
        let (shares, foreign) = (left.len(), book.foreign());
        self.book = Some(book);
        if shares + foreign > 0 {
            (self.sink)(Notice::Left { shares, foreign });
        }
        for share in left {
            if share.resume.is_some() {
                // The latest session is the one that a pool is most likely to know.
                self.pools[share.found.pool].resume = share.resume;
            }
            self.enqueue(share.found, true, Some(share.number));
        }
        Ok(())
    }

    fn enqueue(&mut self, found: FoundShare, sent_before: bool, number: Option<u64>) {
        if let Some(dropped) = self.queue.push(found, sent_before, number) {
            self.lose(&dropped, Lost::Full);
        }
    }

    /// Tells of a share that cannot be sent any more.
    pub(super) fn lose(&mut self, waiting: &Waiting, why: Lost) {
        self.settle(waiting);
        let share = &waiting.found;
        (self.sink)(Notice::Lost { share, why });
    }

    /// Marks a share in the ledger: the next program does not send it again.
    pub(super) fn settle(&mut self, waiting: &Waiting) {
        if let (Some(book), Some(number)) = (&mut self.book, waiting.number)
            && let Err(error) = book.settle(number)
        {
            (self.sink)(Notice::Unwritten { error: &error });
        }
    }

    /// Writes a share into the ledger: the number that settles it, if there is a ledger that
    /// can be written to.
    fn write(&mut self, found: &FoundShare) -> Option<u64> {
        let book = self.book.as_mut()?;
        // A pool that is not in the list is the mistake of whoever handed it in; it goes nowhere.
        let pool = self.settings.pools.get(found.pool)?;
        if book.is_long() {
            let pools = &self.pools;
            let open = self.queue.shares.iter().filter_map(|waiting| {
                let resume = pools[waiting.found.pool].resume.as_ref();
                Some((waiting.number?, &waiting.found, resume))
            });
            if let Err(error) = book.compact(&self.settings.pools, open) {
                (self.sink)(Notice::Unwritten { error: &error });
            }
        }
        let resume = self.pools[found.pool].resume.as_ref();
        let written = book.found(found, pool, resume);
        written
            .inspect_err(|error| (self.sink)(Notice::Unwritten { error }))
            .ok()
    }

    /// Takes over what workers have found.
    pub(super) fn take_found(&mut self) {
        let found = std::mem::take(&mut *self.handle.0.found.borrow_mut());
        for share in found {
            // Before anything of it is sent.
            let number = self.write(&share);
            self.enqueue(share, false, number);
        }
    }

    /// Sends the shares that count here, keeps those that may, and gives up the others.
    pub(super) fn offer(&mut self, current: &mut Current) {
        if !current.session.is_ready() {
            return;
        }
        let now = Instant::now();
        let mut index = 0;
        while let Some(waiting) = self.queue.shares.get_mut(index) {
            index += 1;
            if waiting.sent.is_some() {
                continue;
            }
            let why = match place(current, &waiting.found) {
                Place::Wait => continue,
                Place::Nowhere(why) => why,
                Place::Here => {
                    // Its job may be unknown to this connection.
                    match current.session.submit(now, &waiting.found.share) {
                        Ok(id) => {
                            waiting.sent = Some(id);
                            continue;
                        }
                        Err(SubmitError::Duplicate) => Lost::Duplicate,
                        Err(SubmitError::Stale) => Lost::Stale,
                        // Not now.
                        Err(_) => return,
                    }
                }
            };
            index -= 1;
            if let Some(waiting) = self.queue.shares.remove(index) {
                self.lose(&waiting, why);
            }
        }
    }
}

/// Where a share belongs.
enum Place {
    Here,
    /// Here or elsewhere, later.
    Wait,
    Nowhere(Lost),
}

fn place(current: &Current, found: &FoundShare) -> Place {
    let same_pool = found.pool == current.pool;
    if same_pool && current.session.knows(found) {
        return Place::Here;
    }
    match current.prev_hash {
        // Which block is being worked on shows with the first job.
        None => Place::Wait,
        Some(hash) if hash != found.prev_hash => Place::Nowhere(Lost::Stale),
        Some(_) if !same_pool => Place::Wait,
        Some(_) if current.session.continues(found) => Place::Here,
        Some(_) => Place::Nowhere(Lost::NewSession),
    }
}
