//! `tower::balance` over `PeakEwma`, as linkerd2-proxy uses it.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tower::Service;
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PeakEwmaDiscover};

use super::{BATCH, Picks, timed};
use crate::Result;

/// A service that is always ready and answers at once.
#[derive(Debug)]
struct Echo;

impl Service<()> for Echo {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

type Discovered = PeakEwmaDiscover<ServiceList<Vec<Echo>>>;
type Answer = <Balance<Discovered, ()> as Service<()>>::Future;

pub(super) struct Theirs {
    balance: RefCell<Balance<Discovered, ()>>,
    held: Vec<Answer>,
    /// Its load reads tokio's clock.
    runtime: tokio::runtime::Runtime,
}

impl Theirs {
    pub(super) fn new(nodes: usize) -> Result<Theirs> {
        let services = (0..nodes).map(|_| Echo).collect();
        // linkerd2-proxy's numbers.
        let discovered = PeakEwmaDiscover::new(
            ServiceList::new(services),
            Duration::from_millis(30),
            Duration::from_secs(10),
            CompleteOnResponse::default(),
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let mut theirs = Theirs {
            balance: RefCell::new(Balance::new(discovered)),
            held: Vec::with_capacity(BATCH),
            runtime,
        };
        for _ in 0..8 * nodes / BATCH + 1 {
            let (_, failed) = theirs.batch();
            if failed > 0 {
                return Err("tower::balance is not ready".into());
            }
        }
        Ok(theirs)
    }
}

impl Picks for Theirs {
    fn batch(&mut self) -> (Duration, u64) {
        let Theirs {
            balance,
            held,
            runtime,
        } = self;
        let _in_runtime = runtime.enter();
        let timed = timed(held, |_| {
            let mut balance = balance.borrow_mut();
            let mut cx = Context::from_waker(Waker::noop());
            match balance.poll_ready(&mut cx) {
                Poll::Ready(Ok(())) => Some(balance.call(())),
                Poll::Ready(Err(_)) | Poll::Pending => None,
            }
        });
        for answer in held.drain(..) {
            // Answered at once: this is where its latency is taken.
            let _ = runtime.block_on(answer);
        }
        timed
    }
}
