//! Who watches, and what is asked for on their behalf.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::warn;

use super::name::Name;
use crate::error::Error;
use crate::registry::{Action, Event, Service};

/// The events that a watcher may be behind. More of them end the watch, for an event left out would leave
/// its user wrong for ever.
pub(super) const BACKLOG: usize = 1024;

/// A watch begins as a look-up does, with a question that is repeated for as long as an answer may have been
/// lost (RFC 6762 §5.1): this many times within 5 s, a first gap and what each further one is longer by. Where
/// three packets of ten are lost, half of all questions have no answer; of twelve in a row one in three thousand.
const EARLY: usize = 12;
const EARLY_GAP: Duration = Duration::from_millis(200);
const EARLY_GROWTH: Duration = Duration::from_millis(40);

/// The early questions in a row after which there are no more of them, if every node that is known answered
/// each: nothing gets lost here. One more is asked.
const CLEAN: u32 = 3;

/// What passes between the questions from then on, in seconds; the last one goes on. RFC 6762 §5.2 asks for a
/// second at least, and for growth by two or more.
const GAPS: [u64; 5] = [1, 3, 9, 27, 60];

/// The gaps are up to a tenth longer by chance, so that the watchers of a network do not ask in step.
const JITTER: f64 = 0.1;

/// The least time between two questions for one name after the early ones (RFC 6762 §5.2).
const LEAST_GAP: Duration = Duration::from_secs(1);

/// The most services that are followed because they are in the list.
const MAX_LISTED: usize = 1024;

/// For how long a service is followed that is not in the list any more: three questions long.
const LISTED: Duration = Duration::from_secs(200);

/// The watchers, and the names they are interested in.
#[derive(Debug, Default)]
pub(super) struct Watches {
    watchers: Vec<Entry>,
    interests: BTreeMap<Name, Interest>,
}

#[derive(Debug)]
struct Entry {
    /// The service, or all.
    service: Option<String>,
    events: mpsc::Sender<Result<Event, Error>>,
}

/// Why and when a name is asked for.
#[derive(Debug)]
struct Interest {
    /// The service, or none for the list of services.
    service: Option<String>,
    /// When the list had it last, if that is why.
    listed: Option<Instant>,
    asked: Option<Instant>,
    /// How many questions have been asked.
    step: usize,
    /// How many of the latest ones were answered by all that are known.
    clean: u32,
    next: Instant,
}

// ===== impl Watches =====

impl Watches {
    /// Adds a watcher of the service that is asked for as `name`, or of all.
    pub(super) fn add(
        &mut self,
        now: Instant,
        name: Name,
        service: Option<String>,
        events: mpsc::Sender<Result<Event, Error>>,
    ) {
        let interest = Interest::new(now, service.clone());
        self.interests
            .entry(name)
            .and_modify(|old| {
                old.listed = None;
                old.restart(now);
            })
            .or_insert(interest);
        self.watchers.push(Entry { service, events });
    }

    /// Whether a service is watched.
    pub(super) fn wants(&self, service: &str) -> bool {
        self.watchers.iter().any(|watcher| watcher.wants(service))
    }

    /// Whether all services are watched.
    pub(super) fn wants_all(&self) -> bool {
        self.watchers
            .iter()
            .any(|watcher| watcher.service.is_none())
    }

    /// The names of the services that are asked for.
    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.interests.keys()
    }

    /// Tells those who want to know.
    pub(super) fn tell(&mut self, action: Action, service: &Service) {
        self.watchers.retain(|watcher| {
            if !watcher.wants(&service.name) {
                return true;
            }
            watcher.tell(action, service)
        });
    }

    /// Tells the newest watcher what is known already.
    pub(super) fn tell_newest(&mut self, service: &Service) {
        if let Some(watcher) = self.watchers.last()
            && watcher.wants(&service.name)
        {
            watcher.tell(Action::Create, service);
        }
    }

    /// Services are in the list: whoever watches all wants to know their nodes.
    pub(super) fn listed(
        &mut self,
        now: Instant,
        names: &BTreeSet<String>,
        name_of: impl Fn(&str) -> Option<Name>,
    ) {
        if !self.wants_all() {
            return;
        }
        for service in names {
            let Some(name) = name_of(service) else {
                continue;
            };
            let room = self.interests.len() < MAX_LISTED;
            match self.interests.get_mut(&name) {
                Some(interest) => {
                    if let Some(listed) = &mut interest.listed {
                        *listed = now;
                    }
                }
                None if room => {
                    let mut interest = Interest::new(now, Some(service.clone()));
                    interest.listed = Some(now);
                    self.interests.insert(name, interest);
                }
                None => {}
            }
        }
    }

    /// Everything is asked for again from the start, as on an interface that has just appeared.
    pub(super) fn restart(&mut self, now: Instant) {
        for interest in self.interests.values_mut() {
            interest.restart(now);
        }
    }

    /// Whether to ask for this name now, on behalf of a node whose TTL ends; counts as asked.
    pub(super) fn may_ask(&mut self, now: Instant, name: &Name) -> bool {
        self.interests
            .get_mut(name)
            .is_none_or(|interest| interest.may_ask(now))
    }

    /// When [`timeout`](Watches::timeout) is to be called next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.interests.values().map(|interest| interest.next).min()
    }

    /// The names to ask for now. Forgets what nobody watches any more. `answered` says whether nodes of a
    /// service are known, and all of them have been heard of since.
    pub(super) fn timeout(
        &mut self,
        now: Instant,
        jitter: &mut fastrand::Rng,
        answered: impl Fn(&str, Instant) -> bool,
    ) -> Vec<Name> {
        if self.next().is_none_or(|next| next > now) {
            return Vec::new();
        }
        self.watchers.retain(|watcher| !watcher.events.is_closed());
        let all = self.wants_all();
        let named: BTreeSet<&str> = self
            .watchers
            .iter()
            .filter_map(|watcher| watcher.service.as_deref())
            .collect();
        self.interests
            .retain(|_, interest| match &interest.service {
                None => all,
                Some(service) if named.contains(service.as_str()) => true,
                Some(_) => all && interest.listed.is_some_and(|listed| now < listed + LISTED),
            });
        // What the list was last heard to have, for the question for the list itself.
        let listed = self.interests.values().filter_map(|known| known.listed);
        let listed = listed.min();
        let mut ask = Vec::new();
        for (name, interest) in &mut self.interests {
            if interest.next <= now {
                if let Some(asked) = interest.asked.filter(|_| interest.is_early()) {
                    let is_clean = match &interest.service {
                        Some(service) => answered(service, asked),
                        None => listed.is_some_and(|listed| listed >= asked),
                    };
                    interest.answered(is_clean);
                }
                if interest.may_repeat(now) {
                    ask.push(name.clone());
                }
                interest.advance(now, jitter);
            }
        }
        ask
    }
}

// ===== impl Entry =====

impl Entry {
    fn wants(&self, service: &str) -> bool {
        self.service.as_deref().is_none_or(|name| name == service)
    }

    /// False once the watch is over.
    fn tell(&self, action: Action, service: &Service) -> bool {
        let event = Event {
            action,
            service: service.clone(),
        };
        match self.events.try_send(Ok(event)) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                warn!("a watcher of the mdns registry is {BACKLOG} events behind, its watch ends");
                false
            }
        }
    }
}

// ===== impl Interest =====

impl Interest {
    fn new(now: Instant, service: Option<String>) -> Interest {
        Interest {
            service,
            listed: None,
            asked: None,
            step: 0,
            clean: 0,
            next: now,
        }
    }

    fn restart(&mut self, now: Instant) {
        self.step = 0;
        self.clean = 0;
        self.next = now;
    }

    /// Whether the question that is due is one of the early ones.
    fn is_early(&self) -> bool {
        self.step < EARLY
    }

    /// Whether all that are known answered the latest of the early questions.
    fn answered(&mut self, is_clean: bool) {
        if self.step == 0 {
            // That question was asked before the start from new.
            return;
        }
        self.clean = if is_clean { self.clean + 1 } else { 0 };
        if self.clean >= CLEAN {
            self.step = EARLY - 1;
        }
    }

    /// Whether to ask the question that is due; counts as asked. Each of the early ones may be soon after the
    /// one before, but not the first: watchers may be added at any rate.
    fn may_repeat(&mut self, now: Instant) -> bool {
        if self.step == 0 || !self.is_early() {
            return self.may_ask(now);
        }
        self.asked = Some(now);
        true
    }

    fn may_ask(&mut self, now: Instant) -> bool {
        let may = self.asked.is_none_or(|asked| asked + LEAST_GAP <= now);
        if may {
            self.asked = Some(now);
        }
        may
    }

    fn advance(&mut self, now: Instant, jitter: &mut fastrand::Rng) {
        self.step += 1;
        let gap = match self.step.checked_sub(EARLY) {
            None => {
                let grown = u32::try_from(self.step - 1).unwrap_or_default();
                EARLY_GAP + EARLY_GROWTH * grown
            }
            Some(late) => {
                self.step = self.step.min(EARLY + GAPS.len() - 1);
                Duration::from_secs(GAPS.get(late).copied().unwrap_or(60))
            }
        };
        self.next = now + gap.mul_f64(1.0 + JITTER * jitter.f64());
    }
}
