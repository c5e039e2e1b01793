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

/// What passes between the questions for what is watched, in seconds; the last one goes on. RFC 6762 §5.2
/// asks for a second at least, and for growth by two or more.
const GAPS: [u64; 6] = [0, 1, 3, 9, 27, 60];

/// The gaps are up to a tenth longer by chance, so that the watchers of a network do not ask in step.
const JITTER: f64 = 0.1;

/// The least time between two questions for one name (RFC 6762 §5.2).
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
    step: usize,
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

    /// The names to ask for now. Forgets what nobody watches any more.
    pub(super) fn timeout(&mut self, now: Instant, jitter: &mut fastrand::Rng) -> Vec<Name> {
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
        let mut ask = Vec::new();
        for (name, interest) in &mut self.interests {
            if interest.next <= now {
                if interest.may_ask(now) {
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
            next: now,
        }
    }

    fn restart(&mut self, now: Instant) {
        self.step = 0;
        self.next = now;
    }

    fn may_ask(&mut self, now: Instant) -> bool {
        let may = self.asked.is_none_or(|asked| asked + LEAST_GAP <= now);
        if may {
            self.asked = Some(now);
        }
        may
    }

    fn advance(&mut self, now: Instant, jitter: &mut fastrand::Rng) {
        self.step = (self.step + 1).min(GAPS.len() - 1);
        let gap = Duration::from_secs(GAPS.get(self.step).copied().unwrap_or(60));
        self.next = now + gap.mul_f64(1.0 + JITTER * jitter.f64());
    }
}
