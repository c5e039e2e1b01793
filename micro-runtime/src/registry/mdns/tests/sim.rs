//! A simulated link: hosts that hear one another's multicast, with losses, copies and delays, under tokio's
//! paused clock.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::engine::{Engine, Packet, Port};
use super::super::interfaces::Selection;
use super::super::name::Name;
use super::super::task::{Datagrams, Task};
use super::super::wire::Message;
use super::super::{Config, Mdns, Shared};
use crate::error::Error;
use crate::registry::{Node, Service};

/// The link; clones share it.
#[derive(Clone)]
pub(super) struct Link(Arc<Mutex<State>>);

struct State {
    random: fastrand::Rng,
    start: Instant,
    hosts: BTreeMap<IpAddr, Host>,
    /// The share of packets lost, and of those that come twice.
    loss: f64,
    copies: f64,
    delay: Duration,
    log: Vec<Sent>,
}

struct Host {
    inbox: mpsc::UnboundedSender<(Vec<u8>, Port, SocketAddr)>,
    cut_off: bool,
    /// Sending fails.
    broken: bool,
    /// Others of the link's interfaces have come up since the last scan.
    came: bool,
}

/// A packet that was sent, for tests to look at.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// Since the link was made.
    pub(super) at: Duration,
    pub(super) from: IpAddr,
    pub(super) packet: Packet,
}

/// A host's sockets.
struct SimSockets {
    link: Link,
    ip: IpAddr,
    inbox: mpsc::UnboundedReceiver<(Vec<u8>, Port, SocketAddr)>,
    queue: VecDeque<Packet>,
    queries: u64,
    error: Option<String>,
    /// Since the last scan.
    failed: bool,
}

// ===== impl Link =====

impl Link {
    pub(super) fn new() -> Link {
        Link::with_seed(42)
    }

    /// A link that loses and copies other packets than one of another seed.
    pub(super) fn with_seed(seed: u64) -> Link {
        Link(Arc::new(Mutex::new(State {
            random: fastrand::Rng::with_seed(seed),
            start: Instant::now(),
            hosts: BTreeMap::new(),
            loss: 0.0,
            copies: 0.0,
            delay: Duration::ZERO,
            log: Vec::new(),
        })))
    }

    /// A registry on a host of its own, `10.0.0.<number>`.
    pub(super) fn host(&self, number: u8) -> Mdns {
        self.host_in("micro", number)
    }

    pub(super) fn host_in(&self, domain: &str, number: u8) -> Mdns {
        let ip = ip(number);
        let (sender, inbox) = mpsc::unbounded_channel();
        let host = Host {
            inbox: sender,
            cut_off: false,
            broken: false,
            came: false,
        };
        self.0.lock().unwrap().hosts.insert(ip, host);
        let sockets = SimSockets {
            link: self.clone(),
            ip,
            inbox,
            queue: VecDeque::new(),
            queries: 0,
            error: None,
            failed: false,
        };
        let name = Name::from_text(&format!("host{number}")).unwrap();
        let random = fastrand::Rng::with_seed(number.into());
        let engine = Engine::new(Name::from_text(domain).unwrap(), name, random).unwrap();
        let (sender, commands) = mpsc::channel(8);
        tokio::spawn(Task::new(engine, sockets, commands));
        Mdns(Arc::new(Shared {
            config: Config {
                domain: domain.to_owned(),
                selection: Selection::All,
            },
            task: Mutex::new(Some(sender)),
        }))
    }

    pub(super) fn lose(&self, share: f64) {
        self.0.lock().unwrap().loss = share;
    }

    pub(super) fn copy(&self, share: f64) {
        self.0.lock().unwrap().copies = share;
    }

    pub(super) fn delay(&self, delay: Duration) {
        self.0.lock().unwrap().delay = delay;
    }

    /// Nothing goes to or comes from this host any more, or all does again.
    pub(super) fn cut_off(&self, number: u8, cut_off: bool) {
        self.change(number, |host| host.cut_off = cut_off);
    }

    /// What this host sends fails.
    pub(super) fn break_down(&self, number: u8, broken: bool) {
        self.change(number, |host| host.broken = broken);
    }

    /// This host's interface is gone: nothing comes in, sending fails.
    pub(super) fn interface_went(&self, number: u8) {
        self.change(number, |host| {
            host.cut_off = true;
            host.broken = true;
        });
    }

    /// This host's interface has come up.
    pub(super) fn interface_came(&self, number: u8) {
        self.change(number, |host| {
            host.cut_off = false;
            host.broken = false;
            host.came = true;
        });
    }

    fn change(&self, number: u8, change: impl FnOnce(&mut Host)) {
        let mut state = self.0.lock().unwrap();
        change(state.hosts.get_mut(&ip(number)).unwrap());
    }

    /// Puts a packet into a host's mailbox.
    pub(super) fn inject(&self, number: u8, port: Port, packet: &[u8]) {
        let state = self.0.lock().unwrap();
        let host = &state.hosts[&ip(number)];
        let from = SocketAddr::new(ip(250), 5353);
        host.inbox.send((packet.to_vec(), port, from)).unwrap();
    }

    /// What has been sent since the last time, in order.
    pub(super) fn sent(&self) -> Vec<Sent> {
        std::mem::take(&mut self.0.lock().unwrap().log)
    }

    fn transmit(&self, from: IpAddr, packet: &Packet) -> Result<(), String> {
        let mut state = self.0.lock().unwrap();
        let at = state.start.elapsed();
        let sender = &state.hosts[&from];
        if sender.broken {
            return Err("the network is unreachable".to_owned());
        }
        let cut_off = sender.cut_off;
        state.log.push(Sent {
            at,
            from,
            packet: packet.clone(),
        });
        let (bytes, port, to) = match packet {
            Packet::Query(bytes) => (bytes, QUERY_PORT, None),
            Packet::Announcement(bytes) => (bytes, 5353, None),
            Packet::Reply(to, bytes) => (bytes, 5353, Some(to)),
        };
        let source = SocketAddr::new(from, port);
        let (socket, hosts): (_, Vec<IpAddr>) = match to {
            None => (Port::Mdns, state.hosts.keys().copied().collect()),
            Some(to) if to.port() == QUERY_PORT => (Port::Query, vec![to.ip()]),
            Some(to) => (Port::Mdns, vec![to.ip()]),
        };
        for ip in hosts {
            let (loss, copies) = (state.loss, state.copies);
            let lost = state.random.f64() < loss;
            let times = 1 + usize::from(state.random.f64() < copies);
            let Some(host) = state.hosts.get(&ip) else {
                continue;
            };
            // A host hears itself without a cable.
            if ip != from && (lost || cut_off || host.cut_off) {
                continue;
            }
            for _ in 0..times {
                let (inbox, bytes, delay) = (host.inbox.clone(), bytes.clone(), state.delay);
                if delay.is_zero() || ip == from {
                    let _ = inbox.send((bytes, socket, source));
                } else {
                    tokio::spawn(async move {
                        tokio::time::sleep(delay).await;
                        let _ = inbox.send((bytes, socket, source));
                    });
                }
            }
        }
        Ok(())
    }
}

// ===== impl SimSockets =====

/// The port that every host asks from.
const QUERY_PORT: u16 = 40_000;

impl Datagrams for SimSockets {
    fn can_answer(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn send(&mut self, packet: Packet) {
        self.queue.push_back(packet);
    }

    fn flush(&mut self, _: &mut Context<'_>) {
        for packet in self.queue.drain(..) {
            match self.link.transmit(self.ip, &packet) {
                Ok(()) => self.queries += u64::from(matches!(packet, Packet::Query(_))),
                Err(error) => {
                    self.failed = true;
                    self.error = Some(error);
                }
            }
        }
    }

    fn has_failed(&self) -> bool {
        self.failed
    }

    fn sent(&self) -> (u64, Option<&str>) {
        (self.queries, self.error.as_deref())
    }

    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<(usize, Port, SocketAddr)> {
        self.inbox.poll_recv(cx).map(|received| {
            let (bytes, port, from) = received.expect("the link keeps the sender");
            buffer[..bytes.len()].copy_from_slice(&bytes);
            (bytes.len(), port, from)
        })
    }

    fn scan(&mut self) -> bool {
        self.failed = false;
        let mut state = self.link.0.lock().unwrap();
        let host = state.hosts.get_mut(&self.ip).unwrap();
        std::mem::take(&mut host.came)
    }
}

// ===== impl Sent =====

impl Sent {
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.packet {
            Packet::Query(bytes) | Packet::Announcement(bytes) | Packet::Reply(_, bytes) => bytes,
        }
    }

    pub(super) fn message(&self) -> Message<'_> {
        Message::parse(self.bytes()).unwrap()
    }

    pub(super) fn is_query(&self) -> bool {
        matches!(self.packet, Packet::Query(_))
    }

    pub(super) fn is_announcement(&self) -> bool {
        matches!(self.packet, Packet::Announcement(_))
    }

    pub(super) fn is_reply(&self) -> bool {
        matches!(self.packet, Packet::Reply(..))
    }
}

/// `service(name, host)` under the id of another host's node.
pub(super) fn service_as(name: &str, host: u8, other: u8) -> Service {
    let mut service = service(name, host);
    service.nodes[0].id = format!("{name}-{other}");
    service
}

pub(super) fn ip(number: u8) -> IpAddr {
    [10, 0, 0, number].into()
}

/// A service with one node, on a host.
pub(super) fn service(name: &str, host: u8) -> Service {
    Service {
        name: name.to_owned(),
        version: "1".to_owned(),
        nodes: vec![Node {
            id: format!("{name}-{host}"),
            address: format!("{}:8080", ip(host)),
            ..Node::default()
        }],
        ..Service::default()
    }
}
