//! What peers have said, for as long as they said it holds.
//!
//! A node goes when it says goodbye or when its TTL has passed, never because an answer did not come.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::heard::Heard;
use super::name::Name;
use super::txt::Text;
use crate::registry::{Node, Service};

/// The most nodes kept, and the most bytes of their texts.
const MAX_NODES: usize = 4096;
const MAX_BYTES: usize = 16 << 20;

/// The parts of a TTL, in thousandths, after which a watched node is asked for: from 80 % to later than 95 % as
/// RFC 6762 §5.2 has it, but more often, of a TTL of 120 s about once a second. Where three packets of ten are
/// lost half of all questions have no answer, and a node that lives must not be dropped: with twelve questions it
/// was, by 6 of 2,000 pairs of hosts within ten minutes. The first answer ends it.
const REFRESH: u32 = 800;
const REFRESH_GAP: u32 = 9;
const REFRESHES: u32 = 20;

/// The part of a TTL, in percent, for which a reply with other data about a node is not believed once the node
/// itself has been heard of: two hosts that give the same name to different nodes both answer each question, and
/// would take turns for ever. It is longer than the rarest questions are apart, and shorter than what passes
/// before the first refresh. An announcement is believed at once, for so a node that has changed tells it.
const HELD: u32 = 75;

/// By how much all of these are later by chance, at most, in a thousandth of the TTL (RFC 6762 §5.2).
const JITTER: u32 = 20;

/// For how long a reply cannot bring a node back that has said goodbye: it may have been on its way when
/// the goodbye overtook it on the other socket. An announcement can.
const BURIED: Duration = Duration::from_secs(1);

/// For how long nothing can bring back a node that this process itself has taken out: its announcements
/// may still come in from the other interfaces.
const BURIED_OURS: Duration = Duration::from_secs(2);

/// A peer's node.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// The service it is a node of.
    service: String,
    /// The name to ask for it.
    service_name: Name,
    version: String,
    id: String,
    address: SocketAddr,
    /// The TXT record's data, unpacked again when wanted: its size is what bounds the memory.
    text: Box<[u8]>,
    heard: Instant,
    ttl: Duration,
    /// How much later it is asked for, in a thousandth of its TTL.
    jitter: u32,
    /// How many of the refreshes have been asked for.
    refreshed: u32,
    /// Whether a reply with other data is to be believed: announcements may have been missed.
    doubted: bool,
    /// When to ask for it next, or, after all refreshes, when it ends.
    next: Instant,
}

/// A complete word about a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'a> {
    pub(super) name: &'a Name,
    pub(super) address: SocketAddr,
    pub(super) text: &'a [u8],
    pub(super) ttl: Duration,
}

/// What came of a word about a node.
#[derive(Debug)]
pub(super) enum Change {
    /// It was not known.
    New,
    /// It was known with other contents, but the same version.
    Updated,
    /// It was known as another version's node, which is given as it was.
    Moved(Service),
    /// There was no room.
    Refused,
}

/// What is to be done after some time.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// The names to ask for.
    pub(super) ask: Vec<Name>,
    /// What has ended.
    pub(super) ended: Vec<Service>,
}

/// The nodes of peers, by instance name.
#[derive(Debug, Default)]
pub(super) struct Cache {
    nodes: BTreeMap<Name, Known>,
    bytes: usize,
    buried: BTreeMap<Name, Buried>,
}

#[derive(Clone, Copy, Debug)]
struct Buried {
    until: Instant,
    ours: bool,
}

// ===== impl Cache =====

impl Cache {
    /// If the node is known just so, what was said holds from now on; gives the service.
    pub(super) fn renew(
        &mut self,
        now: Instant,
        said: &Said<'_>,
        random: &mut fastrand::Rng,
    ) -> Option<&str> {
        let known = self.nodes.get_mut(said.name)?;
        if known.address != said.address || *known.text != *said.text {
            return None;
        }
        known.starts(now, said.ttl, random);
        Some(&known.service)
    }

    /// Whether a packet speaks of another node that has the name of a known one: of other data than is known,
    /// in a goodbye or in a reply while the known data hold. A PTR alone speaks of any.
    pub(super) fn is_of_another(&self, now: Instant, heard: &Heard<'_>, is_reply: bool) -> bool {
        let Some(known) = self.nodes.get(&heard.name) else {
            return false;
        };
        let (Some(address), Some(text)) = (heard.address, heard.text) else {
            return false;
        };
        let is_same = known.address == address && *known.text == *text;
        let is_held = !known.doubted && now < known.heard + known.ttl * HELD / 100;
        !is_same && is_held && (is_reply || heard.ttl.is_zero())
    }

    /// Announcements may have been missed: other data are believed until each node has been heard of again.
    pub(super) fn doubt_all(&mut self) {
        for known in self.nodes.values_mut() {
            known.doubted = true;
        }
    }

    /// Takes in what was said of the one node of `service`, which is called `service_name`.
    pub(super) fn insert(
        &mut self,
        now: Instant,
        said: &Said<'_>,
        service_name: Name,
        service: &Service,
        random: &mut fastrand::Rng,
    ) -> Change {
        let old = self.nodes.get(said.name).map(|known| known.text.len());
        let others = self.nodes.len() - usize::from(old.is_some());
        let bytes = self.bytes.saturating_sub(old.unwrap_or_default()) + said.text.len();
        let room = others < MAX_NODES && bytes <= MAX_BYTES;
        let Some(node) = service.nodes.first().filter(|_| room) else {
            return Change::Refused;
        };
        let before = self.remove(said.name);
        let mut known = Known {
            service: service.name.clone(),
            service_name,
            version: service.version.clone(),
            id: node.id.clone(),
            address: said.address,
            text: said.text.into(),
            heard: now,
            ttl: said.ttl,
            jitter: 0,
            refreshed: 0,
            doubted: false,
            next: now,
        };
        known.starts(now, said.ttl, random);
        self.bytes = bytes;
        self.nodes.insert(said.name.clone(), known);
        self.buried.remove(said.name);
        match before {
            None => Change::New,
            Some(before) if before.version == service.version => Change::Updated,
            Some(before) => Change::Moved(before),
        }
    }

    /// Forgets a node; gives its service with it.
    pub(super) fn remove(&mut self, name: &Name) -> Option<Service> {
        let known = self.nodes.remove(name)?;
        self.bytes = self.bytes.saturating_sub(known.text.len());
        Some(known.service())
    }

    /// Remembers for a moment that a node is gone.
    pub(super) fn bury(&mut self, now: Instant, name: &Name, ours: bool) {
        self.buried.retain(|_, buried| buried.until > now);
        if self.buried.len() < MAX_NODES {
            let until = now + if ours { BURIED_OURS } else { BURIED };
            self.buried.insert(name.clone(), Buried { until, ours });
        }
    }

    /// Forgets that a node of this process was gone: it has been registered again.
    pub(super) fn unbury(&mut self, name: &Name) {
        self.buried.remove(name);
    }

    /// Whether what a packet says of a node comes too late; `may_be_late` for replies and further goodbyes.
    pub(super) fn is_buried(&self, now: Instant, name: &Name, may_be_late: bool) -> bool {
        self.buried
            .get(name)
            .is_some_and(|buried| buried.until > now && (buried.ours || may_be_late))
    }

    /// The known nodes of a service, each within it.
    pub(super) fn services<'a>(&'a self, service: &'a str) -> impl Iterator<Item = Service> + 'a {
        self.nodes
            .values()
            .filter(move |known| known.service == service)
            .map(Known::service)
    }

    /// Whether nodes of a service are known, and all of them have been heard of since then.
    pub(super) fn all_heard(&self, service: &str, since: Instant) -> bool {
        let mut nodes = self.nodes.values().filter(|node| node.service == service);
        let some = nodes.next();
        some.is_some_and(|node| node.heard >= since && nodes.all(|node| node.heard >= since))
    }

    /// Everything known.
    pub(super) fn all(&self) -> impl Iterator<Item = &Known> {
        self.nodes.values()
    }

    /// When [`timeout`](Cache::timeout) is to be called next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.nodes.values().map(|known| known.next).min()
    }

    /// Ends what is over, and asks for what will be if it is watched.
    pub(super) fn timeout(&mut self, now: Instant, watched: impl Fn(&str) -> bool) -> Due {
        let mut due = Due::default();
        let mut ended = Vec::new();
        for (name, known) in &mut self.nodes {
            if known.next > now {
                continue;
            }
            if known.heard + known.ttl <= now {
                ended.push(name.clone());
                continue;
            }
            if watched(&known.service) {
                due.ask.push(known.service_name.clone());
            }
            known.advance(now);
        }
        due.ended = ended.iter().filter_map(|name| self.remove(name)).collect();
        due
    }
}

// ===== impl Known =====

impl Known {
    /// Its service with it as the only node.
    pub(super) fn service(&self) -> Service {
        // It has been read once, so this fails never; without it the node can still be called.
        let text = Text::decode(&self.text).unwrap_or_default();
        Service {
            name: self.service.clone(),
            version: self.version.clone(),
            endpoints: text.endpoints.unwrap_or_default(),
            nodes: vec![Node {
                id: self.id.clone(),
                address: self.address.to_string(),
                metadata: text.metadata.unwrap_or_default(),
            }],
            ..Service::default()
        }
    }

    fn starts(&mut self, now: Instant, ttl: Duration, random: &mut fastrand::Rng) {
        self.heard = now;
        self.ttl = ttl;
        self.jitter = random.u32(0..JITTER);
        self.refreshed = 0;
        self.doubted = false;
        self.next = now + self.wait();
    }

    /// Sets the time of the refresh after the one that is due, or of the end.
    fn advance(&mut self, now: Instant) {
        while self.next <= now {
            self.refreshed += 1;
            self.next = self.heard + self.wait();
        }
    }

    /// What passes between a word about it and the next refresh, or the end.
    fn wait(&self) -> Duration {
        if self.refreshed >= REFRESHES {
            return self.ttl;
        }
        let part = REFRESH + REFRESH_GAP * self.refreshed;
        self.ttl * (part + self.jitter) / 1000
    }
}
