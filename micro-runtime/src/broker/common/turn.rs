//! [`turn`]: no more publishes at a time than a connection has room for.

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout_at;

use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};

/// Waits for one of these permits, which are `most`, until the deadline.
pub(in crate::broker) async fn turn(
    publishing: &Semaphore,
    most: usize,
    deadline: Deadline,
) -> Result<SemaphorePermit<'_>, Error> {
    let turn = timeout_at(deadline.instant(), publishing.acquire()).await;
    // It is never closed.
    turn.ok().and_then(Result::ok).ok_or_else(|| {
        Error::new(
            ErrorKind::Broker,
            format_args!("{most} publishes were under way until the deadline of this one"),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_until_the_deadline_is_told_for_what() {
        let publishing = Semaphore::new(1);
        let soon = || Deadline::after(Duration::from_secs(1));
        let first = turn(&publishing, 1, soon()).await.unwrap();
        let error = turn(&publishing, 1, soon()).await.unwrap_err();
        assert!(error.to_string().contains("1 publishes"), "{error}");
        drop(first);
        drop(turn(&publishing, 1, soon()).await.unwrap());
    }
}
