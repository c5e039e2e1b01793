//! [`Stop`]: the word that a subscription is to end, and when its grace is over.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::deadline::Deadline;

/// Whether a subscription is to end; clones are one.
#[derive(Clone, Debug)]
pub(super) struct Stop(Arc<watch::Sender<Option<Instant>>>);

// ===== impl Stop =====

impl Stop {
    pub(super) fn new() -> Stop {
        Stop(Arc::new(watch::Sender::new(None)))
    }

    /// Asks for the end; the earlier of two graces holds.
    pub(super) fn ask(&self, grace: Duration) {
        let end = Deadline::after(grace).instant();
        self.0.send_modify(|until| {
            *until = Some(until.map_or(end, |earlier| earlier.min(end)));
        });
    }

    pub(super) fn is_asked(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Resolves when the end was asked for.
    pub(super) async fn asked(&self) {
        // The sender is here: there is no error.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }

    /// Resolves when the end was asked for and the grace is over.
    pub(super) async fn grace_over(&self) {
        let mut until = self.0.subscribe();
        loop {
            let end = *until.borrow_and_update();
            let over = async {
                match end {
                    Some(end) => sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return,
                _ = until.changed() => {}
            }
        }
    }
}
