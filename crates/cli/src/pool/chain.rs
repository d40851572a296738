//! Blocks of a chain that only this pool knows.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use zcn::TcpListener;
use zcn_miner::machine::unix_s;
use zcn_miner::pool::{PoolNotice, PoolServer, PoolSettings, Template};
use zcn_stratum::hash::Hash;

use super::report;

struct Chain {
    height: u32,
    prev_hash: Hash,
    nbits: u32,
}

impl Chain {
    fn template(&self) -> Template {
        Template::synthetic(self.height, self.prev_hash, self.nbits, unix_s())
    }
}

/// Serves on `listener`; every block that is found is followed by the next at once.
pub(super) fn start(
    listener: TcpListener,
    settings: PoolSettings,
    nbits: u32,
    json: bool,
    interval: Duration,
) -> PoolServer {
    let chain = Rc::new(RefCell::new(Chain {
        height: 1,
        prev_hash: [0; 32],
        nbits,
    }));
    let pool: Rc<RefCell<Option<PoolServer>>> = Rc::default();
    let (links, us) = (chain.clone(), pool.clone());
    let server = PoolServer::start(listener, settings, move |notice| {
        report::pool(json, &notice);
        if let (PoolNotice::Block { found, .. }, Some(server)) = (notice, &*us.borrow()) {
            let mut chain = links.borrow_mut();
            chain.height += 1;
            chain.prev_hash = found.hash;
            hand_out(server, &chain, true);
        }
    });
    *pool.borrow_mut() = Some(server.clone());
    hand_out(&server, &chain.borrow(), true);
    if !interval.is_zero() {
        let server = server.clone();
        zcn::spawn(async move {
            loop {
                zcn::sleep(interval).await;
                hand_out(&server, &chain.borrow(), false);
            }
        });
    }
    server
}

fn hand_out(server: &PoolServer, chain: &Chain, clean: bool) {
    // The target was checked on the command line, and the rest is short.
    if let Err(error) = server.set_template(chain.template(), clean) {
        tracing::error!(%error, "no job");
    }
}
