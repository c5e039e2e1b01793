//! What this process has registered, and what it says of it: announcements, replies, goodbyes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::heard::Heard;
use super::name::{Name, NameError};
use super::records::{Instance, TTL, enumeration_reply};
use super::wire::{Data, Message, PTR, Question};
use crate::registry::Service;

/// What passes before each announcement: RFC 6762 §8.3 allows two to eight, the gaps doubling from a second.
/// go-micro sends three; two more reach all but one in four hundred of those who watch already where three
/// packets of ten are lost. To go-micro each of them says what the first one said.
const ANNOUNCEMENTS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// The least time between two occasions on which a node is announced again because another host has said
/// goodbye of it, and before what is said of it can be another's: what we said ourselves comes back to us.
const RESCUE_GAP: Duration = Duration::from_secs(2);

/// What passes before each goodbye. go-micro sends one; a lost one leaves the node in its peers' lists for
/// two minutes, so we send five, the last before a peer may believe that the node has come back.
const GOODBYES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(300),
];

/// The most questions of a packet that are answered; a querier of services asks one.
const MAX_QUESTIONS: usize = 16;

/// A node to make known.
#[derive(Clone, Debug)]
pub(super) struct Registration {
    /// The service, with this one node in it.
    pub(super) service: Service,
    /// The node as records.
    pub(super) instance: Instance,
    /// What makes its service appear in the list.
    pub(super) list_entry: Instance,
}

/// What came of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Registered {
    /// The node was not there.
    New,
    /// It was there with other contents.
    Changed,
    /// It was there as it is.
    Same,
}

/// The registered nodes and their timers. Pure state: what is to be sent goes into the callers' `send`.
#[derive(Debug)]
pub(super) struct Responder {
    /// `_services._dns-sd._udp.micro` (RFC 6763 §9).
    enumeration: Name,
    nodes: BTreeMap<Name, Entry>,
    goodbyes: BTreeMap<Name, Goodbye>,
}

#[derive(Debug)]
struct Entry {
    registration: Registration,
    announcements: Schedule,
    /// When this began: at the registration, or at another's goodbye.
    announced: Instant,
    /// Whether it has been said that another has this name.
    warned: bool,
    /// When the registration ends unless it is renewed.
    expires: Option<Instant>,
}

#[derive(Debug)]
struct Goodbye {
    packet: Vec<u8>,
    schedule: Schedule,
}

/// Times at which a packet is to be sent.
#[derive(Debug)]
struct Schedule {
    gaps: &'static [Duration],
    next: Option<Instant>,
}

// ===== impl Responder =====

impl Responder {
    pub(super) fn new(domain: &Name) -> Result<Responder, NameError> {
        Ok(Responder {
            enumeration: Name::from_text("_services._dns-sd._udp")?.join(domain)?,
            nodes: BTreeMap::new(),
            goodbyes: BTreeMap::new(),
        })
    }

    /// Takes a node in, to be announced from now on if there is news; `ttl` zero is for good.
    pub(super) fn register(
        &mut self,
        now: Instant,
        registration: Registration,
        ttl: Duration,
    ) -> Registered {
        let expires = (!ttl.is_zero()).then(|| now.checked_add(ttl)).flatten();
        let name = registration.instance.name.clone();
        let what = match self.nodes.get_mut(&name) {
            Some(entry) if entry.registration.instance == registration.instance => {
                entry.expires = expires;
                return Registered::Same;
            }
            Some(_) => Registered::Changed,
            None => Registered::New,
        };
        self.goodbyes.remove(&name);
        let entry = Entry {
            registration,
            announcements: Schedule::starting(now, &ANNOUNCEMENTS),
            announced: now,
            warned: false,
            expires,
        };
        self.nodes.insert(name, entry);
        what
    }

    /// Takes a node out, to say goodbye from now on; gives what was registered.
    pub(super) fn deregister(&mut self, now: Instant, name: &Name) -> Option<Service> {
        let entry = self.nodes.remove(name)?;
        let goodbye = Goodbye {
            packet: entry.registration.instance.announcement(0),
            schedule: Schedule::starting(now, &GOODBYES),
        };
        self.goodbyes.insert(name.clone(), goodbye);
        Some(entry.registration.service)
    }

    /// Announces everything once more, as on an interface that has just appeared.
    pub(super) fn announce_all(&mut self, now: Instant) {
        for entry in self.nodes.values_mut() {
            entry.announcements = Schedule::starting(now, &ANNOUNCEMENTS);
        }
    }

    /// Somebody speaks of a node of ours: ourselves, or another host that has given its node the same name.
    /// After a goodbye, those who believed it are told that ours is there (RFC 6762 §10.1).
    pub(super) fn heard_of_ours(&mut self, now: Instant, heard: &Heard<'_>) {
        let Some(entry) = self.nodes.get_mut(&heard.name) else {
            return;
        };
        if now < entry.announced + RESCUE_GAP {
            return;
        }
        let ours = &entry.registration.instance;
        let is_other = heard.address.is_some_and(|other| other != ours.address);
        if is_other && !entry.warned {
            entry.warned = true;
            warn!(
                node = %heard.name,
                ours = %ours.address,
                theirs = ?heard.address,
                "another process has registered a node of this name: others see one of the two; \
                 give each node an id of its own"
            );
        }
        if heard.ttl.is_zero() {
            entry.announced = now;
            entry.announcements = Schedule::starting(now, &ANNOUNCEMENTS);
        }
    }

    pub(super) fn is_ours(&self, instance: &Name) -> bool {
        self.nodes.contains_key(instance)
    }

    /// The service of a node that is registered here.
    pub(super) fn service(&self, instance: &Name) -> Option<&Service> {
        let entry = self.nodes.get(instance)?;
        Some(&entry.registration.service)
    }

    /// The nodes registered here, each within its service.
    pub(super) fn services(&self) -> impl Iterator<Item = &Service> {
        self.nodes.values().map(|entry| &entry.registration.service)
    }

    /// Gives the packets that answer a query, one for each instance.
    pub(super) fn answer(&self, query: &Message<'_>, mut send: impl FnMut(Vec<u8>)) {
        for question in query.questions.iter().take(MAX_QUESTIONS) {
            // A service that several nodes run is in the list once, and a host has each address once.
            let mut services = BTreeSet::new();
            let mut addresses = BTreeSet::new();
            for entry in self.nodes.values() {
                let node = &entry.registration.instance;
                let mut answer = |instance: &Instance| {
                    if !known(query, question, instance) {
                        instance
                            .reply(query.id, question)
                            .into_iter()
                            .for_each(&mut send);
                    }
                };
                if question.name == node.host {
                    if addresses.insert(node.address.ip()) {
                        answer(node);
                    }
                    continue;
                }
                answer(node);
                if !services.insert(&node.service) {
                    continue;
                }
                if question.name == self.enumeration && question.asks_for(PTR) {
                    send(enumeration_reply(query.id, question, &node.service));
                } else {
                    answer(&entry.registration.list_entry);
                }
            }
        }
    }

    /// When [`timeout`](Responder::timeout) is to be called next.
    pub(super) fn next(&self) -> Option<Instant> {
        let nodes = self
            .nodes
            .values()
            .flat_map(|entry| [entry.announcements.next, entry.expires]);
        let goodbyes = self.goodbyes.values().map(|goodbye| goodbye.schedule.next);
        nodes.chain(goodbyes).flatten().min()
    }

    /// Sends what is due, and gives the services whose registration has ended without a renewal.
    pub(super) fn timeout(
        &mut self,
        now: Instant,
        mut send: impl FnMut(Vec<u8>),
    ) -> Vec<(Name, Service)> {
        let ended: Vec<Name> = self
            .nodes
            .iter()
            .filter(|(_, entry)| entry.expires.is_some_and(|at| at <= now))
            .map(|(name, _)| name.clone())
            .collect();
        let ended = ended
            .into_iter()
            .filter_map(|name| {
                let service = self.deregister(now, &name)?;
                Some((name, service))
            })
            .collect();
        for entry in self.nodes.values_mut() {
            if entry.announcements.due(now) {
                send(entry.registration.instance.announcement(TTL));
            }
        }
        self.goodbyes.retain(|_, goodbye| {
            if goodbye.schedule.due(now) {
                send(goodbye.packet.clone());
            }
            goodbye.schedule.next.is_some()
        });
        ended
    }
}

// ===== impl Schedule =====

impl Schedule {
    fn starting(now: Instant, gaps: &'static [Duration]) -> Schedule {
        let mut schedule = Schedule { gaps, next: None };
        schedule.advance(now);
        schedule
    }

    /// Whether it is time; if so, the next time is set.
    fn due(&mut self, now: Instant) -> bool {
        let due = self.next.is_some_and(|at| at <= now);
        if due {
            self.advance(now);
        }
        due
    }

    fn advance(&mut self, now: Instant) {
        self.next = None;
        if let Some((gap, rest)) = self.gaps.split_first() {
            self.gaps = rest;
            self.next = Some(now + *gap);
        }
    }
}

/// The name whose instances are the services of a domain.
pub(super) fn list_name(domain: &Name) -> Result<Name, NameError> {
    Name::from_text("_services")?.join(domain)
}

/// Whether the query says that its sender knows this instance well enough not to be told (RFC 6762 §7.1).
fn known(query: &Message<'_>, question: &Question, instance: &Instance) -> bool {
    query.answers.iter().any(|record| {
        record.name == question.name
            && record.ttl >= TTL / 2
            && matches!(&record.data, Data::Ptr(target) if *target == instance.name)
    })
}

#[cfg(test)]
mod tests {
    use super::super::engine::{Engine, Prepared};
    use super::super::wire::{A, AAAA, ANY, IN, Record};
    use super::*;
    use crate::registry::Node;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    /// A responder with two nodes of `a` and one of `b`, on two addresses.
    fn responder() -> Responder {
        let engine =
            Engine::new(name("micro"), name("host1"), fastrand::Rng::with_seed(1)).unwrap();
        let mut responder = Responder::new(&name("micro")).unwrap();
        for (service, id, address) in [
            ("a", "a-1", "10.0.0.1:1"),
            ("a", "a-2", "10.0.0.1:2"),
            ("b", "b-1", "[fd00::1]:3"),
        ] {
            let service = Service {
                name: service.to_owned(),
                ..Service::default()
            };
            let node = Prepared {
                node: Node {
                    id: id.to_owned(),
                    ..Node::default()
                },
                address: address.parse().unwrap(),
                text: Vec::new(),
            };
            let registration = engine.instance(&service, node).unwrap();
            responder.register(Instant::now(), registration, Duration::ZERO);
        }
        responder
    }

    /// The data of the first answer of each reply.
    fn answers(query: &Message<'_>) -> Vec<String> {
        let mut replies = Vec::new();
        responder().answer(query, |packet| {
            let message = Message::parse(&packet).unwrap();
            assert_eq!(message.questions.len(), 1);
            let first = match &message.answers[0].data {
                Data::Ptr(target) => target.to_string(),
                Data::A(address) => address.to_string(),
                Data::Aaaa(address) => address.to_string(),
                other => format!("{other:?}"),
            };
            replies.push(first);
        });
        replies
    }

    fn ask(text: &str, kind: u16) -> Vec<String> {
        answers(&Message {
            questions: vec![Question::new(name(text), kind)],
            ..Message::default()
        })
    }

    #[test]
    fn each_name_has_its_answers() {
        let none: [&str; 0] = [];
        assert_eq!(ask("a.micro", PTR), ["a-1.a.micro.", "a-2.a.micro."]);
        assert_eq!(ask("b.micro", ANY), ["b-1.b.micro."]);
        let list = ["a._services.micro.", "b._services.micro."];
        assert_eq!(ask("_services.micro", PTR), list);
        let kinds = "_services._dns-sd._udp.micro";
        assert_eq!(ask(kinds, PTR), ["a.micro.", "b.micro."]);
        assert_eq!(ask(kinds, A), none);
        assert_eq!(ask("host1", A), ["10.0.0.1"], "each address once");
        assert_eq!(ask("host1", AAAA), ["fd00::1"]);
        assert_eq!(ask("a._services.micro", ANY).len(), 1);
        assert_eq!(ask("c.micro", PTR), none);
        assert_eq!(ask("micro", ANY), none);
    }

    #[test]
    fn what_the_asker_knows_is_not_told() {
        let known = |ttl| {
            answers(&Message {
                questions: vec![Question::new(name("a.micro"), PTR)],
                answers: vec![Record {
                    name: name("a.micro"),
                    class: IN,
                    ttl,
                    data: Data::Ptr(name("a-1.a.micro")),
                }],
                ..Message::default()
            })
        };
        assert_eq!(known(60), ["a-2.a.micro."]);
        assert_eq!(known(59).len(), 2, "it is about to forget it");
    }

    #[test]
    fn many_questions_are_answered_up_to_a_limit() {
        let query = Message {
            questions: vec![Question::new(name("b.micro"), PTR); 300],
            ..Message::default()
        };
        assert_eq!(answers(&query).len(), MAX_QUESTIONS);
    }
}
