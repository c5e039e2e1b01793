//! Connections that wait for their next request.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use tokio::time::{Instant, sleep_until};

use crate::lock::lock;

/// The most connections of one server that are kept without work, unless more were asked for.
const IDLE_MAX: usize = 4;

/// For how long; less than what proxies and servers wait before they close one themselves (Go's and nginx's
/// clients: 90 s and 60 s).
const IDLE_FOR: Duration = Duration::from_secs(50);

pub(super) type Sender = SendRequest<Full<Bytes>>;

/// Idle connections of one server. They are closed when their time is over, or with the pool.
#[derive(Clone)]
pub(super) struct Pool {
    state: Arc<Mutex<State>>,
    most: usize,
}

#[derive(Default)]
struct State {
    idle: Vec<(Sender, Instant)>,
    /// A task waits for the next connection to close.
    sweeping: bool,
}

// ===== impl Pool =====

impl Default for Pool {
    fn default() -> Pool {
        Pool {
            state: Arc::default(),
            most: IDLE_MAX,
        }
    }
}

impl Pool {
    /// One that keeps up to so many, at least one.
    #[cfg(feature = "http")]
    pub(super) fn keeping(connections: usize) -> Pool {
        Pool {
            state: Arc::default(),
            most: connections.max(1),
        }
    }

    /// The connection used last, which is the likeliest to live.
    pub(super) fn take(&self) -> Option<Sender> {
        let mut state = self.lock();
        while let Some((sender, until)) = state.idle.pop() {
            if !sender.is_closed() && Instant::now() < until {
                return Some(sender);
            }
        }
        None
    }

    /// Keeps a connection for the next request, in place of the oldest if there are many.
    pub(super) fn put(&self, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut state = self.lock();
        if state.idle.len() >= self.most {
            state.idle.remove(0);
        }
        state.idle.push((sender, Instant::now() + IDLE_FOR));
        if !state.sweeping {
            state.sweeping = true;
            tokio::spawn(sweep(Arc::downgrade(&self.state)));
        }
    }

    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.lock().idle.len()
    }

    /// Each section leaves the state whole, and waits for nothing.
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Closes connections when they have been idle for long. Ends with the pool, or when it is empty.
async fn sweep(pool: std::sync::Weak<Mutex<State>>) {
    loop {
        let next = {
            let Some(pool) = pool.upgrade() else { return };
            let mut state = lock(&pool);
            let now = Instant::now();
            state
                .idle
                .retain(|(sender, until)| now < *until && !sender.is_closed());
            match state.idle.iter().map(|(_, until)| *until).min() {
                Some(next) => next,
                None => {
                    state.sweeping = false;
                    return;
                }
            }
        };
        sleep_until(next).await;
    }
}
