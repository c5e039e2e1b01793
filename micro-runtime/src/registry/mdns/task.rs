//! The task that owns the engine and the sockets, and the commands it takes.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep};

use super::engine::{Engine, Packet, Port, Prepared, bad_name};
use super::lookup::{Reply, Subject};
use super::name::NameError;
use crate::error::Error;
use crate::registry::{Event, Service};

/// The packets that are read before commands and timers have their turn.
const PACKETS_PER_TURN: usize = 64;

/// How often the interfaces are looked at, and how soon again after something could not be sent.
const SCAN: Duration = Duration::from_secs(5);
const SCAN_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The largest UDP datagram.
const MAX_DATAGRAM: usize = 65_535;

/// What [`Mdns`](super::Mdns) asks of its task.
pub(super) enum Command {
    Register {
        service: Service,
        nodes: Vec<Prepared>,
        ttl: Duration,
        reply: oneshot::Sender<Result<(), Error>>,
    },
    Deregister {
        service: Service,
        reply: oneshot::Sender<Result<(), Error>>,
    },
    LookUp {
        subject: Subject,
        reply: Reply,
    },
    Watch {
        service: Option<String>,
        events: mpsc::Sender<Result<Event, Error>>,
        reply: oneshot::Sender<Result<(), Error>>,
    },
}

/// Sockets: datagrams out and in.
pub(super) trait Datagrams {
    /// Whether others can ask us: port 5353 is ours, too. Tries again if it was not.
    fn can_answer(&mut self) -> Result<(), Error>;

    /// Takes a packet to be sent.
    fn send(&mut self, packet: Packet);

    /// Sends what it took, as far as it can at once.
    fn flush(&mut self, cx: &mut Context<'_>);

    /// Whether something could not be sent since the last [`scan`](Datagrams::scan), perhaps because the
    /// interfaces are not what they were.
    fn has_failed(&self) -> bool;

    /// How many queries have been sent, on one interface at least, and why the last failure.
    fn sent(&self) -> (u64, Option<&str>);

    /// The next packet: its length, the socket, the sender.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<(usize, Port, SocketAddr)>;

    /// Looks at the machine's interfaces; true if one came.
    fn scan(&mut self) -> bool;
}

/// Runs the engine until every command sender is gone.
pub(super) struct Task<D> {
    engine: Engine,
    datagrams: D,
    commands: mpsc::Receiver<Command>,
    timeout: Pin<Box<Sleep>>,
    scan: Pin<Box<Sleep>>,
    scanned: Instant,
    buffer: Vec<u8>,
}

// ===== impl Task =====

impl<D: Datagrams> Task<D> {
    pub(super) fn new(engine: Engine, datagrams: D, commands: mpsc::Receiver<Command>) -> Task<D> {
        Task {
            engine,
            datagrams,
            commands,
            timeout: Box::pin(tokio::time::sleep(Duration::ZERO)),
            scan: Box::pin(tokio::time::sleep(SCAN)),
            scanned: Instant::now(),
            buffer: vec![0; MAX_DATAGRAM],
        }
    }

    fn apply(&mut self, cx: &mut Context<'_>, command: Command) {
        let now = Instant::now();
        match command {
            Command::Register {
                service,
                nodes,
                ttl,
                reply,
            } => {
                let result = self.register(now, &service, nodes, ttl);
                // What was announced is on its way before the registration is reported.
                self.flush(cx);
                let _ = reply.send(result);
            }
            Command::Deregister { service, reply } => {
                for node in &service.nodes {
                    self.engine.deregister(now, &service.name, &node.id);
                }
                self.flush(cx);
                let _ = reply.send(Ok(()));
            }
            Command::LookUp { subject, reply } => self.engine.look_up(now, subject, reply),
            Command::Watch {
                service,
                events,
                reply,
            } => {
                let named = service.clone().unwrap_or_default();
                let result = self
                    .engine
                    .watch(now, service, events)
                    .map_err(|why| bad_name(&named, &why));
                let _ = reply.send(result);
            }
        }
    }

    fn register(
        &mut self,
        now: Instant,
        service: &Service,
        nodes: Vec<Prepared>,
        ttl: Duration,
    ) -> Result<(), Error> {
        self.datagrams.can_answer()?;
        let instances = nodes
            .into_iter()
            .map(|node| {
                let id = node.node.id.clone();
                self.engine
                    .instance(service, node)
                    .map_err(|why| bad_node(&service.name, &id, &why))
            })
            .collect::<Result<Vec<_>, _>>()?;
        for instance in instances {
            self.engine.register(now, instance, ttl);
        }
        Ok(())
    }

    fn flush(&mut self, cx: &mut Context<'_>) {
        while let Some(packet) = self.engine.next_packet() {
            self.datagrams.send(packet);
        }
        self.datagrams.flush(cx);
        let (queries, error) = self.datagrams.sent();
        self.engine.sent(queries, error);
        let soon = self.scanned + SCAN_AFTER_FAILURE;
        if self.datagrams.has_failed() && soon < self.scan.deadline() {
            self.scan.as_mut().reset(soon);
            // For it to be looked at: this may be after the timers' turn.
            cx.waker().wake_by_ref();
        }
    }

    fn poll_commands(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(command) = ready!(self.commands.poll_recv(cx)) {
            self.apply(cx, command);
        }
        Poll::Ready(())
    }

    /// Reads packets; ready if there may be more.
    fn poll_packets(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..PACKETS_PER_TURN {
            let (length, port, from) = ready!(self.datagrams.poll_receive(cx, &mut self.buffer));
            let packet = self.buffer.get(..length).unwrap_or_default();
            self.engine.receive(Instant::now(), port, from, packet);
        }
        Poll::Ready(())
    }

    /// Does what is due; ready if there was something.
    fn poll_timers(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut fired = Poll::Pending;
        if self.scan.as_mut().poll(cx).is_ready() {
            self.scanned = Instant::now();
            self.scan.as_mut().reset(self.scanned + SCAN);
            if self.datagrams.scan() {
                self.engine.interfaces_changed(Instant::now());
            }
            fired = Poll::Ready(());
        }
        if let Some(at) = self.engine.next_timeout() {
            if self.timeout.deadline() != at {
                self.timeout.as_mut().reset(at);
            }
            if self.timeout.as_mut().poll(cx).is_ready() {
                self.engine.timeout(Instant::now());
                fired = Poll::Ready(());
            }
        }
        fired
    }
}

impl<D: Datagrams + Unpin> Future for Task<D> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.poll_commands(cx).is_ready() {
            return Poll::Ready(());
        }
        let more_packets = this.poll_packets(cx).is_ready();
        let more_timers = this.poll_timers(cx).is_ready();
        this.flush(cx);
        if more_packets || more_timers {
            // Others have their turn first.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<D> fmt::Debug for Task<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

/// The error for a node that cannot have a DNS name.
pub(super) fn bad_node(service: &str, node: &str, why: &NameError) -> Error {
    Error::config(format_args!(
        "mdns cannot register the node {node:?} of the service {service:?}: {why}"
    ))
}
