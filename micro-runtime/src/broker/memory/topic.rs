//! [`Subscribed`]: the queues of one topic.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Mutex as Turn, Notify};

use super::queue::Queue;
use crate::broker::message::Message;
use crate::lock::lock;

/// A topic that somebody has subscribed: its queues, and who waits for room in them.
#[derive(Default)]
pub(super) struct Subscribed {
    queues: Mutex<Vec<Arc<Queue>>>,
    /// Whoever waits for room waits for this first, so that events keep their order.
    turn: Turn<()>,
    waiting: AtomicUsize,
    room: Notify,
}

/// Counts one who waits.
struct Waiting<'a>(&'a AtomicUsize);

// ===== impl Subscribed =====

impl Subscribed {
    /// The queue of a subscriber: that of its name, or one of its own.
    pub(super) fn queue(&self, name: Option<&str>, capacity: usize) -> Arc<Queue> {
        let mut queues = lock(&self.queues);
        let known = queues
            .iter()
            .find(|queue| name.is_some() && queue.name() == name);
        if let Some(queue) = known {
            return Arc::clone(queue);
        }
        let queue = Arc::new(Queue::new(name, capacity));
        queues.push(Arc::clone(&queue));
        queue
    }

    /// Takes a queue away; whether there is none left.
    pub(super) fn remove(&self, queue: &Arc<Queue>) -> bool {
        let mut queues = lock(&self.queues);
        queues.retain(|known| !Arc::ptr_eq(known, queue));
        queues.is_empty()
    }

    /// Puts an event into every queue, unless there is no room or somebody waits for it.
    pub(super) fn try_push(&self, message: &Arc<Message>) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0 && self.push_where_room(message)
    }

    /// Puts an event into every queue, when all have room.
    pub(super) async fn push(&self, message: &Arc<Message>) {
        let _waiting = Waiting::new(&self.waiting);
        let _turn = self.turn.lock().await;
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Before the look, so that room that is made between the two is not missed.
            room.as_mut().enable();
            if self.push_where_room(message) {
                return;
            }
            room.await;
        }
    }

    fn push_where_room(&self, message: &Arc<Message>) -> bool {
        // Held for all of it: the queues of one topic have the same order.
        let queues = lock(&self.queues);
        if !queues.iter().all(|queue| queue.has_room()) {
            return false;
        }
        for queue in queues.iter() {
            queue.push(Arc::clone(message));
        }
        true
    }

    /// There is room again.
    pub(super) fn freed(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.room.notify_waiters();
        }
    }
}

// ===== impl Waiting =====

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Waiting<'a> {
        count.fetch_add(1, Ordering::SeqCst);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
