//! What a watch makes of the answers: the index of blocking queries, and the events between two answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::api::Instance;
use crate::registry::{Action, Event, Node, Service};

/// How long a node stays that is missing for a reason that is not its own: the agent came back without what it
/// knew, or half of a service turned critical at once. Whoever lives has registered again by then (go-micro:
/// every 30 s, for 90 s).
pub(super) const HOLD: Duration = Duration::from_secs(90);

/// Nodes that turn critical within this time count as turning critical at once.
const AT_ONCE: Duration = Duration::from_secs(10);

/// The index of a blocking query, by Consul's rules: it must be greater than zero and must not go back; where
/// it does, the next query starts over, without one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Index(u64);

/// What an index says of the answer that it came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It has grown.
    Fresh,
    /// It is the same: the wait was over.
    Same,
    /// It went back, was zero or was none: the agent has lost its memory, or is another one.
    Lost,
}

/// The nodes that the watchers of a service have been told of.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    known: BTreeMap<Key, Seen>,
    /// When nodes turned critical.
    criticals: Vec<Instant>,
}

/// A node's id and its address: while it moves from one agent to another, two may have one id.
type Key = (String, String);

#[derive(Debug)]
struct Seen {
    service: Arc<Service>,
    node: Node,
    held: Option<Held>,
}

/// A node that the answer does not have, or has as critical, and that is kept all the same.
#[derive(Clone, Copy, Debug)]
struct Held {
    until: Instant,
    critical: bool,
}

/// Events, one for each action and version.
#[derive(Default)]
struct Events(Vec<Event>);

// ===== impl Index =====

impl Index {
    /// The number to wait on; none asks for an answer at once.
    pub(super) fn get(&self) -> Option<u64> {
        (self.0 > 0).then_some(self.0)
    }

    /// Takes over the index of an answer.
    pub(super) fn take(&mut self, index: Option<u64>) -> News {
        let index = index.unwrap_or(0);
        let news = match index {
            0 => News::Lost,
            _ if index < self.0 => News::Lost,
            _ if index == self.0 => News::Same,
            _ => News::Fresh,
        };
        self.0 = if news == News::Lost { 0 } else { index };
        news
    }

    /// Starts over: what comes next is an answer at once.
    pub(super) fn reset(&mut self) {
        self.0 = 0;
    }
}

// ===== impl Tracker =====

impl Tracker {
    /// Takes over an answer; says what happened since the last one.
    ///
    /// What is missing was deregistered, if the answers are of one history (`continuous`); otherwise the agent may
    /// have forgotten it, and it is held. What is critical goes, unless it takes more than half of the nodes with
    /// it: then the agent is more likely to have slept through their renewals, and they are held too.
    pub(super) fn take(
        &mut self,
        answer: Vec<Instance>,
        continuous: bool,
        now: Instant,
    ) -> Vec<Event> {
        let mut named: BTreeMap<Key, bool> = BTreeMap::new();
        let mut living = Vec::new();
        for instance in answer {
            if instance.node.address.is_empty() {
                continue;
            }
            // Of two entries for one node the good one counts.
            let critical = named.entry(key(&instance.node)).or_insert(true);
            *critical &= instance.critical;
            if !instance.critical {
                living.push(instance);
            }
        }
        let doubtful = self.doubtful(&named, now);
        let mut events = Events::default();
        for instance in living {
            self.put(instance, &mut events);
        }
        self.known.retain(|key, seen| {
            let missing = match named.get(key) {
                Some(false) => {
                    seen.held = None;
                    return true;
                }
                Some(true) => Held {
                    until: now + HOLD,
                    critical: true,
                },
                None => Held {
                    until: now + HOLD,
                    critical: false,
                },
            };
            let stays = match seen.held {
                // Held as critical, and since then deregistered.
                Some(held) if held.critical && !missing.critical => !continuous,
                Some(_) => true,
                None if missing.critical => doubtful,
                None => !continuous,
            };
            if stays {
                seen.held.get_or_insert(missing);
            } else {
                events.add(Action::Delete, seen);
            }
            stays
        });
        events.0
    }

    /// Whether more than half of the nodes turned critical at once; counts those that do now.
    fn doubtful(&mut self, named: &BTreeMap<Key, bool>, now: Instant) -> bool {
        self.criticals
            .retain(|at| now.duration_since(*at) < AT_ONCE);
        let earlier = self.criticals.len();
        let standing = self.known.iter().filter(|(_, seen)| seen.held.is_none());
        let (mut count, mut turned) = (0, 0);
        for (key, _) in standing {
            count += 1;
            turned += usize::from(named.get(key) == Some(&true));
        }
        self.criticals.extend(std::iter::repeat_n(now, turned));
        let before = earlier + count;
        before >= 2 && (earlier + turned) * 2 > before
    }

    fn put(&mut self, instance: Instance, events: &mut Events) {
        let new = Seen {
            service: instance.service,
            node: instance.node,
            held: None,
        };
        let key = key(&new.node);
        let action = match self.known.get(&key) {
            None => Action::Create,
            Some(seen) if seen.node != new.node || seen.service != new.service => Action::Update,
            Some(_) => return,
        };
        events.add(action, &new);
        self.known.insert(key, new);
    }

    /// Says which of the held nodes are gone by now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Event> {
        let mut events = Events::default();
        self.known.retain(|_, seen| {
            let stays = seen.held.is_none_or(|held| now < held.until);
            if !stays {
                events.add(Action::Delete, seen);
            }
            stays
        });
        events.0
    }

    /// When [`due`](Tracker::due) has something to say.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.known
            .values()
            .filter_map(|seen| seen.held)
            .map(|held| held.until)
            .min()
    }

    /// How many nodes are held.
    pub(super) fn held(&self) -> usize {
        let held = |seen: &&Seen| seen.held.is_some();
        self.known.values().filter(held).count()
    }
}

// ===== impl Events =====

impl Events {
    fn add(&mut self, action: Action, seen: &Seen) {
        let Events(events) = self;
        let same = |event: &&mut Event| {
            event.action == action
                && event.service.version == seen.service.version
                && event.service.endpoints == seen.service.endpoints
        };
        match events.iter_mut().rev().find(same) {
            Some(event) => event.service.nodes.push(seen.node.clone()),
            None => {
                let mut service = Service::clone(&seen.service);
                service.nodes.push(seen.node.clone());
                events.push(Event { action, service });
            }
        }
    }
}

fn key(node: &Node) -> Key {
    (node.id.clone(), node.address.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `id` or `id!`, which is critical, of version 1; `id@2` of version 2.
    fn answer(text: &str) -> Vec<Instance> {
        text.split_whitespace()
            .map(|word| {
                let critical = word.ends_with('!');
                let word = word.trim_end_matches('!');
                let (id, version) = word.split_once('@').unwrap_or((word, "1"));
                Instance {
                    service: Arc::new(Service {
                        name: "a".into(),
                        version: version.into(),
                        ..Service::default()
                    }),
                    node: Node {
                        id: id.into(),
                        address: format!("10.0.0.1:{}", id.len()),
                        ..Node::default()
                    },
                    critical,
                }
            })
            .collect()
    }

    fn shown(events: &[Event]) -> String {
        let event = |event: &Event| {
            let sign = match event.action {
                Action::Create => '+',
                Action::Update => '~',
                Action::Delete => '-',
            };
            let nodes: Vec<_> = event.service.nodes.iter().map(|node| &*node.id).collect();
            format!("{sign}{}", nodes.join(","))
        };
        events.iter().map(event).collect::<Vec<_>>().join(" ")
    }

    /// Answers, the seconds before each, and the events expected of each. `?` before an answer: of another history.
    fn run(steps: &[(u64, &str, &str)]) -> Tracker {
        let mut now = Instant::now();
        let mut tracker = Tracker::default();
        for (seconds, text, expected) in steps {
            now += Duration::from_secs(*seconds);
            let due = shown(&tracker.due(now));
            let continuous = !text.starts_with('?');
            let events = tracker.take(answer(text.trim_start_matches('?')), continuous, now);
            let found = format!("{due} {}", shown(&events));
            assert_eq!(found.trim(), *expected, "{steps:?} at {text:?}");
        }
        tracker
    }

    #[test]
    fn an_index_starts_over_when_it_goes_back() {
        let mut index = Index::default();
        for (found, news, next) in [
            (Some(100), News::Fresh, Some(100)),
            (Some(5), News::Lost, None),
            (Some(7), News::Fresh, Some(7)),
            (Some(7), News::Same, Some(7)),
            (Some(0), News::Lost, None),
            (Some(8), News::Fresh, Some(8)),
            (None, News::Lost, None),
            (Some(u64::MAX), News::Fresh, Some(u64::MAX)),
        ] {
            assert_eq!(index.take(found), news, "{found:?}");
            assert_eq!(index.get(), next);
        }
        index.reset();
        assert_eq!(index.get(), None);
    }

    #[test]
    fn nodes_come_change_and_go() {
        run(&[
            (0, "a bb", "+a,bb"),
            (1, "a bb", ""),
            (1, "a@2 bb ccc", "~a +ccc"),
            (1, "bb ccc", "-a"),
            (1, "", "-bb,ccc"),
        ]);
    }

    #[test]
    fn a_critical_node_goes_and_returns() {
        run(&[
            (0, "a bb! ccc", "+a,ccc"),
            (1, "a ccc! bb!", "-ccc"),
            (11, "a! ccc", "+ccc -a"),
            (11, "ccc!", "-ccc"),
        ]);
    }

    #[test]
    fn half_of_the_nodes_do_not_turn_critical_at_once() {
        // An agent that slept through the renewals of all.
        let tracker = run(&[
            (0, "a bb ccc", "+a,bb,ccc"),
            (100, "a! bb! ccc!", ""),
            (5, "a bb! ccc!", ""),
        ]);
        assert_eq!(tracker.held(), 2);
        // One after the other, it is the same.
        run(&[
            (0, "a bb ccc dddd", "+a,bb,ccc,dddd"),
            (1, "a! bb ccc dddd", "-a"),
            (1, "a! bb! ccc dddd", "-bb"),
            (1, "a! bb! ccc! dddd", ""),
            (1, "a! bb! ccc! dddd!", ""),
            (1, "a bb ccc dddd", "+a,bb"),
        ]);
        // Those that do not come back go in the end, and those deregistered at once.
        run(&[
            (0, "a bb ccc", "+a,bb,ccc"),
            (1, "a! bb! ccc!", ""),
            (1, "a! ccc!", "-bb"),
            (50, "a! ccc", ""),
            (39, "ccc", "-a"),
        ]);
    }

    #[test]
    fn what_an_agent_forgot_is_held() {
        let tracker = run(&[
            (0, "a bb ccc", "+a,bb,ccc"),
            (1, "?", ""),
            (1, "bb", ""),
            (1, "bb", ""),
        ]);
        assert_eq!(tracker.held(), 2);
        run(&[
            (0, "a bb", "+a,bb"),
            (1, "?bb", ""),
            (89, "bb", ""),
            (1, "bb", "-a"),
            (1, "?a bb", "+a"),
        ]);
    }

    #[test]
    fn of_two_entries_the_good_one_counts() {
        run(&[(0, "a! a", "+a"), (1, "a a!", ""), (1, "a! a!", "-a")]);
    }

    #[test]
    fn a_node_without_an_address_is_none() {
        let mut found = answer("a");
        found[0].node.address.clear();
        assert!(
            Tracker::default()
                .take(found, true, Instant::now())
                .is_empty()
        );
    }
}
