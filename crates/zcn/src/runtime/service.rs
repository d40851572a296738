//! The servers of a runtime: who gets an event, who is swept and when.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Inner;
use crate::reactor::Event;
use crate::table::Key;

/// What a runtime calls for the events of a server; implemented by the server with its handler.
pub(crate) trait Service {
    fn on_event(&mut self, inner: &Rc<Inner>, event: Event);
    /// Called about `sweep_every` apart, for timeouts.
    fn sweep(&mut self, inner: &Rc<Inner>);
    fn sweep_every(&self) -> Option<Duration>;
    /// Whether it has connections to finish when the runtime drains: then it is told by
    /// [`Event::Drain`] and waited for.
    fn drains(&self) -> bool {
        false
    }
}

/// The place of a service among those of a runtime.
pub(super) struct ServiceSlot {
    /// Taken out while it is called.
    service: Option<Box<dyn Service>>,
    next_sweep: Option<Instant>,
    drains: bool,
}

impl Inner {
    /// A place for a server's events; the service is put in by [`Self::give_service`].
    pub(crate) fn reserve_service(&self) -> Key {
        self.services.borrow_mut().insert(ServiceSlot {
            service: None,
            next_sweep: None,
            drains: false,
        })
    }

    pub(crate) fn install_service(&self, server: Key, service: Box<dyn Service>) {
        let mut services = self.services.borrow_mut();
        let Some(slot) = services.get_mut(server) else {
            return;
        };
        slot.drains = service.drains();
        slot.next_sweep = service.sweep_every().map(|every| Instant::now() + every);
        slot.service = Some(service);
    }

    pub(super) fn take_service(&self, server: Key) -> Option<Box<dyn Service>> {
        self.services.borrow_mut().get_mut(server)?.service.take()
    }

    pub(super) fn give_service(&self, server: Key, service: Box<dyn Service>) {
        let mut services = self.services.borrow_mut();
        if let Some(slot) = services.get_mut(server) {
            if slot.next_sweep.is_none() {
                slot.next_sweep = service.sweep_every().map(|every| Instant::now() + every);
            }
            slot.service = Some(service);
            return;
        }
        drop(services);
        drop(service);
    }

    /// Servers that a drain has to tell and to wait for.
    pub(crate) fn draining_services(&self) -> Vec<Key> {
        let services = self.services.borrow();
        services
            .iter()
            .filter(|(_, slot)| slot.drains)
            .map(|(server, _)| server)
            .collect()
    }

    /// Brings a server's next sweep forward.
    pub(crate) fn sweep_within(&self, server: Key, time: Duration) {
        if let Some(slot) = self.services.borrow_mut().get_mut(server) {
            let at = Instant::now() + time;
            slot.next_sweep = Some(slot.next_sweep.map_or(at, |next| next.min(at)));
        }
    }

    /// Takes a server out of the loop for good.
    pub(crate) fn remove_service(&self, server: Key) {
        // Dropped with nothing borrowed: the handler is the user's.
        let removed = self.services.borrow_mut().remove(server);
        drop(removed);
    }

    pub(super) fn next_sweep(&self) -> Option<Instant> {
        let services = self.services.borrow();
        services
            .iter()
            .filter_map(|(_, slot)| slot.next_sweep)
            .min()
    }

    pub(super) fn serve_sweeps(self: &Rc<Self>, now: Instant) {
        if self.next_sweep().is_none_or(|at| at > now) {
            return;
        }
        let mut next = 0;
        loop {
            let Some(server) = self.services.borrow().key_from(next) else {
                return;
            };
            next = server.index + 1;
            let due = match self.services.borrow_mut().get_mut(server) {
                Some(slot) if slot.next_sweep.is_some_and(|at| at <= now) => {
                    let every = slot
                        .service
                        .as_ref()
                        .and_then(|service| service.sweep_every());
                    slot.next_sweep = every.map(|every| now + every);
                    true
                }
                _ => false,
            };
            if due && let Some(mut service) = self.take_service(server) {
                service.sweep(self);
                self.give_service(server, service);
            }
        }
    }
}
