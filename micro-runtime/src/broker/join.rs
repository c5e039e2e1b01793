//! [`Join`]: many futures, driven by one task.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use crate::lock::lock;

/// Futures that are polled when they are woken, and only those: begun in their order, and done in any.
pub(crate) struct Join<F> {
    items: Vec<Option<(F, Arc<Slot>)>>,
    woken: Arc<Woken>,
    left: usize,
}

#[derive(Default)]
struct Woken(Mutex<State>);

#[derive(Default)]
struct State {
    /// The futures to poll, in the order they were woken.
    indices: Vec<usize>,
    /// Who drives them all, while it waits.
    task: Option<Waker>,
}

/// Wakes one of the futures.
struct Slot {
    index: usize,
    /// It is among the woken ones already.
    listed: AtomicBool,
    woken: Arc<Woken>,
}

// ===== impl Join =====

impl<F: Future + Unpin> Join<F> {
    pub(crate) fn new(futures: impl Iterator<Item = F>) -> Join<F> {
        let woken = Arc::new(Woken::default());
        let items: Vec<_> = futures
            .enumerate()
            .map(|(index, future)| {
                let slot = Arc::new(Slot {
                    index,
                    listed: AtomicBool::new(true),
                    woken: Arc::clone(&woken),
                });
                Some((future, slot))
            })
            .collect();
        lock(&woken.0).indices = (0..items.len()).collect();
        Join {
            left: items.len(),
            items,
            woken,
        }
    }

    /// Drives all of them to their ends.
    pub(crate) async fn all(&mut self) {
        std::future::poll_fn(|cx| self.poll(cx, |_, _| {})).await;
    }

    /// Polls those that were woken, and tells of each one that is done. Ready when all are.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut done: impl FnMut(usize, F::Output),
    ) -> Poll<()> {
        let indices = {
            let mut state = lock(&self.woken.0);
            state.task = Some(cx.waker().clone());
            std::mem::take(&mut state.indices)
        };
        for index in indices {
            let Some(item) = self.items.get_mut(index) else {
                continue;
            };
            let Some((future, slot)) = item else {
                continue;
            };
            // Before the poll, so that what wakes it from now on is not lost.
            slot.listed.store(false, Ordering::Release);
            let waker = Waker::from(Arc::clone(slot));
            let polled = Pin::new(future).poll(&mut Context::from_waker(&waker));
            if let Poll::Ready(output) = polled {
                *item = None;
                self.left -= 1;
                done(index, output);
            }
        }
        if self.left == 0 {
            return Poll::Ready(());
        }
        // Those that were woken meanwhile come in the next turn: one round each, so that nobody else starves.
        if !lock(&self.woken.0).indices.is_empty() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<F: Future<Output = Result<(), E>> + Unpin, E> Join<F> {
    /// Drives all of them to their ends: the places of those that failed, ascending, and how.
    pub(crate) async fn failed(mut self) -> Vec<(usize, E)> {
        let mut failed = Vec::new();
        std::future::poll_fn(|cx| {
            self.poll(cx, |index, result| {
                failed.extend(result.err().map(|error| (index, error)));
            })
        })
        .await;
        failed.sort_by_key(|(index, _)| *index);
        failed
    }
}

// ===== impl Slot =====

impl Wake for Slot {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.listed.swap(true, Ordering::AcqRel) {
            return;
        }
        let task = {
            let mut state = lock(&self.woken.0);
            state.indices.push(self.index);
            state.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn each_is_told_once_and_polled_only_when_woken() {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..3).map(|_| oneshot::channel::<u8>()).unzip();
        let mut join = Join::new(receivers.into_iter());
        let mut done = Vec::new();
        let mut poll = |join: &mut Join<_>, cx: &mut Context<'_>| {
            join.poll(cx, |index, output: Result<u8, _>| {
                done.push((index, output.ok()));
            })
        };
        std::future::poll_fn(|cx| Poll::Ready(poll(&mut join, cx).is_pending())).await;
        let mut senders = senders.into_iter();
        let (first, second, third) = (senders.next(), senders.next(), senders.next());
        third.unwrap().send(3).unwrap();
        drop(first);
        assert_eq!(lock(&join.woken.0).indices, [2, 0]);
        tokio::spawn(async move {
            tokio::task::yield_now().await;
            second.unwrap().send(2).unwrap();
        });
        std::future::poll_fn(|cx| poll(&mut join, cx)).await;
        assert_eq!(done, [(2, Some(3)), (0, None), (1, Some(2))]);
    }

    #[tokio::test]
    async fn none_are_done_at_once() {
        let mut join = Join::new(std::iter::empty::<std::future::Ready<()>>());
        join.all().await;
    }
}
