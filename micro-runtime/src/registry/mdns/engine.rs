//! The protocol without sockets and clocks: packets, commands and times in, packets and events out.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::cache::{Cache, Change, Said};
use super::heard::{Heard, instances, listed};
use super::lookup::{GIVE_UP, Lookup, Reply, Step, Subject};
use super::name::{Name, NameError};
use super::records::{Instance, query};
use super::responder::{Registered, Registration, Responder, list_name};
use super::txt::{MAX_JSON, Text};
use super::watch::Watches;
use super::wire::Message;
use crate::error::Error;
use crate::registry::common::group;
use crate::registry::{Action, Event, Node, Service};

/// A node whose address and text have been found to be in order.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) node: Node,
    pub(super) address: SocketAddr,
    pub(super) text: Vec<u8>,
}

/// A packet to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// A query, to the group on every interface, from a port of our own: go-micro and RFC 6762 §6.7 answer
    /// to the port that asked, and several processes share port 5353.
    Query(Vec<u8>),
    /// An announcement or a goodbye, to the group on every interface, from port 5353.
    Announcement(Vec<u8>),
    /// A reply, from port 5353.
    Reply(SocketAddr, Vec<u8>),
}

/// The socket that a packet came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    /// 5353, in the group.
    Mdns,
    /// The one that queries leave by.
    Query,
}

/// The state of one registry.
#[derive(Debug)]
pub(super) struct Engine {
    domain: Name,
    list: Name,
    host: Name,
    responder: Responder,
    cache: Cache,
    lookups: BTreeMap<Subject, Lookup>,
    watches: Watches,
    out: VecDeque<Packet>,
    random: fastrand::Rng,
    /// How many queries the sockets have sent, and why the last failure.
    sent: u64,
    send_error: Option<String>,
    /// How many packets or texts made no sense.
    malformed: u64,
}

// ===== impl Engine =====

impl Engine {
    /// A registry for a domain; `host` is what SRV records point to.
    pub(super) fn new(
        domain: Name,
        host: Name,
        random: fastrand::Rng,
    ) -> Result<Engine, NameError> {
        Ok(Engine {
            list: list_name(&domain)?,
            responder: Responder::new(&domain)?,
            domain,
            host,
            cache: Cache::default(),
            lookups: BTreeMap::new(),
            watches: Watches::default(),
            out: VecDeque::new(),
            random,
            sent: 0,
            send_error: None,
            malformed: 0,
        })
    }

    /// The name that a service is asked for by.
    pub(super) fn service_name(&self, service: &str) -> Result<Name, NameError> {
        Name::from_text(service)?.join(&self.domain)
    }

    // ----- commands -----

    /// A node as records, if it can have a name.
    pub(super) fn instance(
        &self,
        service: &Service,
        prepared: Prepared,
    ) -> Result<Registration, NameError> {
        let Prepared {
            node,
            address,
            text,
        } = prepared;
        let service_name = self.service_name(&service.name)?;
        let listed = Name::from_text(&service.name)?.join(&self.list)?;
        let instance = Instance {
            name: Name::from_text(&node.id)?.join(&service_name)?,
            service: service_name,
            host: self.host.clone(),
            address,
            text,
        };
        Ok(Registration {
            service: Service {
                version: service.version_or_latest().to_owned(),
                endpoints: service.endpoints.clone(),
                nodes: vec![node],
                name: service.name.clone(),
                ..Service::default()
            },
            list_entry: Instance::list_entry(&self.list, listed, self.host.clone()),
            instance,
        })
    }

    /// Makes a node known.
    pub(super) fn register(&mut self, now: Instant, registration: Registration, ttl: Duration) {
        let name = registration.instance.name.clone();
        let service = registration.service.clone();
        let action = match self.responder.register(now, registration, ttl) {
            Registered::New => Action::Create,
            Registered::Changed => Action::Update,
            Registered::Same => return,
        };
        self.cache.remove(&name);
        self.cache.unbury(&name);
        self.watches.tell(action, &service);
        self.timeout(now);
    }

    /// Takes a node out, if it is there.
    pub(super) fn deregister(&mut self, now: Instant, service: &str, node: &str) {
        let name = self
            .service_name(service)
            .and_then(|service| Name::from_text(node)?.join(&service));
        // What cannot have a name is not there.
        let Ok(name) = name else {
            return;
        };
        if let Some(service) = self.responder.deregister(now, &name) {
            self.gone(now, &name, &service, true);
            self.timeout(now);
        }
    }

    /// Looks up a service or the list; the reply comes in time.
    pub(super) fn look_up(&mut self, now: Instant, subject: Subject, reply: Reply) {
        let name = match &subject {
            Subject::List => Ok(self.list.clone()),
            Subject::Service(service) => self.service_name(service),
        };
        match name {
            Ok(name) => {
                let sent = self.sent;
                self.lookups
                    .entry(subject)
                    .or_insert_with(|| Lookup::new(now, name, sent))
                    .join(reply);
                self.timeout(now);
            }
            Err(why) => {
                let service = match &subject {
                    Subject::Service(service) => service,
                    Subject::List => "_services",
                };
                // Whoever asked may have stopped waiting.
                let _ = reply.send(Err(bad_name(service, &why)));
            }
        }
    }

    /// Sends events from now on, of one service or of all, beginning with what is known.
    pub(super) fn watch(
        &mut self,
        now: Instant,
        service: Option<String>,
        events: mpsc::Sender<Result<Event, Error>>,
    ) -> Result<(), NameError> {
        let name = match &service {
            Some(service) => self.service_name(service)?,
            None => self.list.clone(),
        };
        self.watches.add(now, name, service, events);
        for service in self.responder.services() {
            self.watches.tell_newest(service);
        }
        for known in self.cache.all() {
            self.watches.tell_newest(&known.service());
        }
        self.timeout(now);
        Ok(())
    }

    /// The interfaces have changed: those that came have heard nothing of us, nor we of them.
    pub(super) fn interfaces_changed(&mut self, now: Instant) {
        self.responder.announce_all(now);
        self.cache.doubt_all();
        self.watches.restart(now);
        self.timeout(now);
    }

    /// How many queries have been sent until now, and why the last one failed.
    pub(super) fn sent(&mut self, queries: u64, error: Option<&str>) {
        self.sent = queries;
        self.send_error = error.map(str::to_owned);
    }

    // ----- packets -----

    /// The next packet to be sent.
    pub(super) fn next_packet(&mut self) -> Option<Packet> {
        self.out.pop_front()
    }

    /// Takes in a packet. One that makes no sense is counted, and that is all. What it brings about is due at
    /// once, and done by [`timeout`](Engine::timeout) when all the packets that are there have been read.
    pub(super) fn receive(&mut self, now: Instant, port: Port, from: SocketAddr, packet: &[u8]) {
        let message = match Message::parse(packet) {
            Ok(message) => message,
            Err(why) => return self.malformed(from, &why),
        };
        if !message.is_mdns() {
            return;
        }
        if message.is_response() {
            self.hear(now, from, &message);
        } else if port == Port::Mdns && from.port() != 0 {
            let out = &mut self.out;
            self.responder.answer(&message, |packet| {
                out.push_back(Packet::Reply(from, packet))
            });
        }
    }

    fn hear(&mut self, now: Instant, from: SocketAddr, message: &Message<'_>) {
        let names = listed(message, &self.list);
        if !names.is_empty() {
            if let Some(lookup) = self.lookups.get_mut(&Subject::List) {
                lookup.listed(now, &names);
            }
            let domain = &self.domain;
            self.watches.listed(now, &names, |service| {
                Name::from_text(service).ok()?.join(domain).ok()
            });
        }
        // Announcements have no question.
        let is_reply = !message.questions.is_empty();
        let mut budget = MAX_JSON;
        for heard in instances(message, &self.domain) {
            // A goodbye is said several times.
            let may_be_late = is_reply || heard.ttl.is_zero();
            if self.responder.is_ours(&heard.name) {
                self.answered_by_ourselves(now, &heard);
            } else if self.cache.is_of_another(now, &heard, is_reply) {
                debug!(node = %heard.name, %from, "mdns knows another node by this name, which stays");
            } else if !self.cache.is_buried(now, &heard.name, may_be_late) {
                self.hear_of(now, from, &heard, &mut budget);
            }
        }
    }

    /// What a packet says of a peer's node.
    fn hear_of(&mut self, now: Instant, from: SocketAddr, heard: &Heard<'_>, budget: &mut usize) {
        if heard.ttl.is_zero() {
            let known = self.cache.remove(&heard.name);
            // A watcher may have been told of it before we forgot it.
            let gone = known.or_else(|| self.read(from, heard, budget).map(|(_, service)| service));
            if let Some(service) = gone {
                self.gone(now, &heard.name, &service, false);
            }
            return;
        }
        let (Some(address), Some(text)) = (heard.address, heard.text) else {
            return;
        };
        let said = Said {
            name: &heard.name,
            address,
            text,
            ttl: heard.ttl,
        };
        if let Some(service) = self.cache.renew(now, &said, &mut self.random) {
            let subject = Subject::Service(service.to_owned());
            return self.answered(now, &subject);
        }
        let Some((service_name, service)) = self.read(from, heard, budget) else {
            return;
        };
        let random = &mut self.random;
        match self
            .cache
            .insert(now, &said, service_name, &service, random)
        {
            Change::New => self.watches.tell(Action::Create, &service),
            Change::Updated => self.watches.tell(Action::Update, &service),
            Change::Moved(before) => {
                self.watches.tell(Action::Delete, &before);
                self.watches.tell(Action::Create, &service);
            }
            Change::Refused => {
                debug!(node = %heard.name, "mdns knows too many nodes, one is left out");
                return;
            }
        }
        self.answered(now, &Subject::Service(service.name));
    }

    /// Reads a node's text, if somebody wants the node: it as its service, and what the service is asked
    /// for by.
    fn read(
        &mut self,
        from: SocketAddr,
        heard: &Heard<'_>,
        budget: &mut usize,
    ) -> Option<(Name, Service)> {
        let wanted = self.watches.wants_all()
            || self
                .watches
                .names()
                .chain(self.lookups.values().map(|lookup| &lookup.name))
                .any(|name| heard.name.strip_suffix(name).is_some());
        // A list entry has no text and is no node.
        let data = heard.text.filter(|data| wanted && !data.is_empty())?;
        let text = match Text::decode_within(data, budget) {
            Ok(text) => text,
            Err(why) => {
                self.malformed(from, &why);
                return None;
            }
        };
        let service_name = self.service_name(&text.service).ok()?;
        let id = heard.name.strip_suffix(&service_name)?.text()?;
        let wanted = self.watches.wants(&text.service)
            || self
                .lookups
                .contains_key(&Subject::Service(text.service.clone()));
        let address = heard.address.map(|address| address.to_string());
        let node = Node {
            id,
            address: address.unwrap_or_default(),
            metadata: text.metadata.unwrap_or_default(),
        };
        let service = Service {
            name: text.service,
            version: text.version,
            endpoints: text.endpoints.unwrap_or_default(),
            nodes: vec![node],
            ..Service::default()
        }
        .versioned();
        wanted.then_some((service_name, service))
    }

    fn answered_by_ourselves(&mut self, now: Instant, heard: &Heard<'_>) {
        self.responder.heard_of_ours(now, heard);
        let service = self
            .responder
            .service(&heard.name)
            .filter(|_| !heard.ttl.is_zero())
            .map(|service| Subject::Service(service.name.clone()));
        if let Some(subject) = service {
            self.answered(now, &subject);
        }
    }

    fn answered(&mut self, now: Instant, subject: &Subject) {
        if let Some(lookup) = self.lookups.get_mut(subject) {
            lookup.answered(now);
        }
    }

    fn malformed(&mut self, from: SocketAddr, why: &dyn std::fmt::Display) {
        self.malformed += 1;
        debug!(%from, count = self.malformed, "mdns cannot read a packet: {why}");
    }

    // ----- time -----

    /// When [`timeout`](Engine::timeout) is to be called next.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let lookups = self.lookups.values().map(|lookup| Some(lookup.next()));
        [
            self.responder.next(),
            self.cache.next(),
            self.watches.next(),
        ]
        .into_iter()
        .chain(lookups)
        .flatten()
        .min()
    }

    /// Does what is due.
    pub(super) fn timeout(&mut self, now: Instant) {
        let out = &mut self.out;
        let ended = self
            .responder
            .timeout(now, |packet| out.push_back(Packet::Announcement(packet)));
        for (name, service) in ended {
            warn!(node = %name, "the registration has not been renewed in time, it ends");
            self.gone(now, &name, &service, true);
        }

        let watches = &self.watches;
        let due = self.cache.timeout(now, |service| watches.wants(service));
        for service in due.ended {
            self.watches.tell(Action::Delete, &service);
        }
        let cache = &self.cache;
        let answered = |service: &str, since| cache.all_heard(service, since);
        let mut ask = self.watches.timeout(now, &mut self.random, answered);
        for name in due.ask {
            if self.watches.may_ask(now, &name) && !ask.contains(&name) {
                ask.push(name);
            }
        }

        let mut over = Vec::new();
        for (subject, lookup) in &mut self.lookups {
            match lookup.step(now) {
                Step::Wait => {}
                Step::Ask => ask.push(lookup.name.clone()),
                Step::End => over.push(subject.clone()),
            }
        }
        for name in ask {
            let packet = query(self.random.u16(..), &name);
            self.out.push_back(Packet::Query(packet));
        }
        for subject in over {
            if let Some(lookup) = self.lookups.remove(&subject) {
                let result = self.result(&subject, &lookup);
                lookup.finish(&result);
            }
        }
    }

    /// What a look-up that is over has found.
    fn result(&self, subject: &Subject, lookup: &Lookup) -> Result<Vec<Service>, String> {
        let found = match subject {
            Subject::Service(name) => {
                let ours = self.responder.services().filter(|ours| ours.name == *name);
                group::versions(ours.cloned().chain(self.cache.services(name)))
            }
            Subject::List => {
                let ours = self.responder.services().map(|ours| ours.name.clone());
                let mut names = lookup.names.clone();
                names.extend(ours);
                let named = |name| Service {
                    name,
                    ..Service::default()
                };
                names.into_iter().map(named).collect()
            }
        };
        match &self.send_error {
            Some(error) if found.is_empty() && lookup.sent_before == self.sent => Err(format!(
                "mdns could not ask on any interface within {GIVE_UP:?}: {error}"
            )),
            _ => Ok(found),
        }
    }

    /// Tells that a node is gone, and keeps late packets from bringing it back.
    fn gone(&mut self, now: Instant, name: &Name, service: &Service, ours: bool) {
        self.cache.bury(now, name, ours);
        self.watches.tell(Action::Delete, service);
    }
}

/// The error for a service that cannot have a DNS name.
pub(super) fn bad_name(service: &str, why: &NameError) -> Error {
    Error::config(format_args!(
        "mdns cannot look for the service {service:?}: {why}"
    ))
}
