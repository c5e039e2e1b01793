//! [`Queue`]: events that wait for one of several consumers.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::event::Settle;
use crate::broker::message::Message;
use crate::lock::lock;

/// Events that wait for one of several consumers, in order, and those that consumers have and did not settle.
pub(super) struct Queue {
    name: Option<String>,
    capacity: usize,
    /// Held for short sections without a wait.
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// It outlives its consumers.
    durable: bool,
    next: u64,
    /// In the order they were published.
    ready: VecDeque<Entry>,
    /// Those that are handed out again later.
    delayed: BTreeMap<(Instant, u64), Entry>,
    unsettled: HashMap<u64, (Entry, u64)>,
    members: Vec<Member>,
}

#[derive(Clone)]
pub(super) struct Entry {
    pub(super) number: u64,
    pub(super) attempt: u32,
    pub(super) message: Arc<Message>,
}

struct Member {
    id: u64,
    /// How many events it may hold unsettled; none, once it stops.
    limit: usize,
    held: usize,
    waker: Option<Waker>,
}

/// What a consumer finds.
pub(super) enum Found {
    Entry(Entry),
    /// Nothing before then, if anything at all.
    Nothing(Option<Instant>),
}

// ===== impl Queue =====

impl Queue {
    pub(super) fn new(name: Option<&str>, capacity: usize) -> Queue {
        Queue {
            name: name.map(str::to_owned),
            capacity,
            inner: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Adds a consumer, and gives the number by which it is known.
    pub(super) fn join(&self, limit: usize, durable: bool) -> u64 {
        let mut inner = lock(&self.inner);
        inner.durable |= durable && self.name.is_some();
        let id = inner.number();
        inner.members.push(Member {
            id,
            limit,
            held: 0,
            waker: None,
        });
        id
    }

    /// Hands a consumer nothing more. Whether the queue is of no more use.
    pub(super) fn stop(&self, id: u64) -> bool {
        let mut inner = lock(&self.inner);
        if let Some(member) = inner.members.iter_mut().find(|member| member.id == id) {
            member.limit = 0;
        }
        inner.is_useless()
    }

    /// Takes a consumer away; what it had goes back. Whether the queue is of no more use.
    pub(super) fn leave(&self, id: u64) -> bool {
        let mut inner = lock(&self.inner);
        inner.members.retain(|member| member.id != id);
        let held: Vec<u64> = inner
            .unsettled
            .iter()
            .filter(|(_, (_, holder))| *holder == id)
            .map(|(number, _)| *number)
            .collect();
        for number in held {
            if let Some((entry, _)) = inner.unsettled.remove(&number) {
                inner.put_back(entry, Duration::ZERO);
            }
        }
        let wakers = inner.wakers();
        let useless = inner.is_useless();
        drop(inner);
        wake(wakers);
        useless
    }

    /// Whether nobody has it and nobody will.
    pub(super) fn is_useless(&self) -> bool {
        lock(&self.inner).is_useless()
    }

    pub(super) fn has_room(&self) -> bool {
        let inner = lock(&self.inner);
        inner.ready.len() + inner.delayed.len() + inner.unsettled.len() < self.capacity
    }

    pub(super) fn push(&self, message: Arc<Message>) {
        let mut inner = lock(&self.inner);
        let number = inner.number();
        inner.ready.push_back(Entry {
            number,
            attempt: 1,
            message,
        });
        let wakers = inner.wakers();
        drop(inner);
        wake(wakers);
    }

    /// The next event for a consumer; `keep` is whether it will be settled.
    pub(super) fn poll(&self, id: u64, keep: bool, cx: &mut Context<'_>) -> Found {
        let mut inner = lock(&self.inner);
        inner.promote();
        let inner = &mut *inner;
        let Some(member) = inner.members.iter_mut().find(|member| member.id == id) else {
            return Found::Nothing(None);
        };
        if member.held < member.limit
            && let Some(entry) = inner.ready.pop_front()
        {
            if keep {
                member.held += 1;
                inner.unsettled.insert(entry.number, (entry.clone(), id));
            }
            return Found::Entry(entry);
        }
        member.waker = Some(cx.waker().clone());
        let next = inner.delayed.keys().next().map(|(at, _)| *at);
        Found::Nothing(next)
    }

    /// Settles an event that this consumer has; one that went back meanwhile is not its any more.
    pub(super) fn settle(&self, id: u64, number: u64, attempt: u32, how: Settle) {
        let mut inner = lock(&self.inner);
        let is_its = inner
            .unsettled
            .get(&number)
            .is_some_and(|(entry, holder)| *holder == id && entry.attempt == attempt);
        if !is_its {
            return;
        }
        if let Some(member) = inner.members.iter_mut().find(|member| member.id == id) {
            member.held = member.held.saturating_sub(1);
        }
        let settled = inner.unsettled.remove(&number);
        match (how, settled) {
            (Settle::Ack, _) | (_, None) => {}
            (Settle::Retry(delay), Some((entry, _))) => inner.put_back(entry, delay),
            (Settle::Return, Some((entry, _))) => inner.put_back(entry, Duration::ZERO),
        }
        let wakers = inner.wakers();
        drop(inner);
        wake(wakers);
    }
}

fn wake(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}

// ===== impl Inner =====

impl Inner {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn is_useless(&self) -> bool {
        !self.durable && self.members.iter().all(|member| member.limit == 0)
    }

    /// Has it handed out once more.
    fn put_back(&mut self, mut entry: Entry, delay: Duration) {
        entry.attempt = entry.attempt.saturating_add(1);
        match Instant::now().checked_add(delay) {
            Some(at) if !delay.is_zero() => {
                self.delayed.insert((at, entry.number), entry);
            }
            // A time beyond what the clock can say is no delay that anybody means.
            _ => self.make_ready(entry),
        }
    }

    /// Moves those whose delay is over to where they were.
    fn promote(&mut self) {
        if self.delayed.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some(first) = self.delayed.first_entry()
            && first.key().0 <= now
        {
            let entry = first.remove();
            self.make_ready(entry);
        }
    }

    fn make_ready(&mut self, entry: Entry) {
        let at = self
            .ready
            .partition_point(|other| other.number < entry.number);
        self.ready.insert(at, entry);
    }

    /// Those who wait, and may take one more.
    fn wakers(&mut self) -> Vec<Waker> {
        if self.ready.is_empty() && self.delayed.is_empty() {
            return Vec::new();
        }
        self.members
            .iter_mut()
            .filter(|member| member.held < member.limit)
            .filter_map(|member| member.waker.take())
            .collect()
    }
}
