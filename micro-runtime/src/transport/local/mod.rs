//! In-process: a client's connection straight to a server's [`Serve`], with no bytes of HTTP in between.
//!
//! Heads are handed over, data is passed by reference, and everything else is as on a network: windows,
//! resets with their codes, cancellation by dropping, trailers, draining.

mod call;
mod head;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use self::call::{Call, Held, Receiver, Sender, Side};
use super::gauge::{Gauge, Slot};
use super::{ClientLimits, ServerLimits};
use crate::exchange::{
    BoxFuture, Broken, ConnInfo, Connection, Dialled, Drain, DrainState, Exchange, Incoming, Load,
    NotOpened, NotOpenedWhy, OutHead, Outgoing, PeerAddr, Serve, State, Why,
};
use crate::lock::lock;

/// A connection to a server in this process, with the default limits, that nobody drains. Its works run in
/// tasks of their own; dropping the last handle, and the last exchange, drops them.
///
/// # Panics
/// Opening an exchange outside a tokio runtime.
#[must_use]
pub fn connect(app: Arc<dyn Serve>) -> Connection {
    let (client, _) = Client::new(app, &ServerLimits::new(), &ClientLimits::new());
    Connection::new(Arc::new(client))
}

/// The same, with limits (windows and numbers of exchanges; the others have no meaning here), and a drain.
///
/// # Panics
/// Outside a tokio runtime: what waits for the drain is a task.
#[must_use]
pub fn connect_with(
    app: Arc<dyn Serve>,
    server: &ServerLimits,
    client: &ClientLimits,
    drain: Drain,
) -> Connection {
    let (client, gone) = Client::new(app, server, client);
    let gauge = Arc::clone(&client.0.gauge);
    tokio::spawn(watch(Arc::downgrade(&client.0), gauge, gone, drain));
    Connection::new(Arc::new(client))
}

/// Lives as long as one of the handles or exchanges.
struct Shared {
    app: Arc<dyn Serve>,
    /// As the client sees it.
    info: ConnInfo,
    /// As the server sees it.
    theirs: Arc<ConnInfo>,
    gauge: Arc<Gauge>,
    request_window: usize,
    reply_window: usize,
    inner: Mutex<Inner>,
    /// Dropped with this: nobody is left.
    _alive: oneshot::Sender<()>,
}

struct Inner {
    calls: HashMap<u64, Weak<Call>>,
    next: u64,
    works: JoinSet<()>,
}

struct Client(Arc<Shared>);

/// Holds a call's place, and the connection, until the client's side of it is over.
struct Place {
    shared: Arc<Shared>,
    number: u64,
    slot: Option<Slot>,
}

// ===== impl Shared =====

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // No foreign code runs under this lock.
        lock(&self.inner)
    }

    /// Closes it if it drains and is empty.
    fn settle(&self) {
        if self.gauge.state() == State::Draining && self.gauge.in_flight() == 0 {
            self.gauge.close();
        }
    }

    /// Cuts every exchange.
    fn cut(&self) {
        self.gauge.close();
        let calls: Vec<_> = {
            let inner = self.inner();
            inner.calls.values().filter_map(Weak::upgrade).collect()
        };
        // Before the handlers: one that is dropped unfinished resets its exchange.
        for call in calls {
            call.cut(&Broken::new(Why::Closed).with_detail("the server was cut"));
        }
        self.inner().works.abort_all();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.inner().calls.remove(&self.number);
        drop(self.slot.take());
        self.shared.settle();
    }
}

impl Held for Place {}

// ===== impl Client =====

impl Client {
    fn new(
        app: Arc<dyn Serve>,
        server: &ServerLimits,
        client: &ClientLimits,
    ) -> (Client, oneshot::Receiver<()>) {
        let (alive, gone) = oneshot::channel();
        let info = ConnInfo::new(PeerAddr::Local, PeerAddr::Local);
        let shared = Shared {
            app,
            theirs: Arc::new(info.clone()),
            info,
            gauge: Gauge::new(
                server.http2.max_concurrent_streams as usize,
                client.http2.max_concurrent_streams as usize,
            ),
            request_window: server.http2.stream_window as usize,
            reply_window: client.http2.stream_window as usize,
            inner: Mutex::new(Inner {
                calls: HashMap::new(),
                next: 0,
                works: JoinSet::new(),
            }),
            _alive: alive,
        };
        (Client(Arc::new(shared)), gone)
    }
}

impl Dialled for Client {
    fn try_open(
        &self,
        head: OutHead,
        first: Option<Bytes>,
        end: bool,
    ) -> Result<(Outgoing, Incoming), NotOpened> {
        let shared = &self.0;
        let slot = match shared.gauge.slot() {
            Ok(slot) => slot,
            Err(why) => return Err(NotOpened { why, head, first }),
        };
        let request = match head::request(&head) {
            Ok(request) => request,
            Err(why) => {
                let broken = Broken::new(Why::Protocol).unprocessed().with_detail(why);
                return Ok((Outgoing::finished(), Incoming::broken(broken)));
            }
        };
        let call = Call::new(shared.request_window, shared.reply_window);
        let number = {
            let mut inner = shared.inner();
            // Under the lock, so that a cut either finds this call or is seen by it.
            if shared.gauge.state() == State::Closed {
                let why = NotOpenedWhy::Closed;
                return Err(NotOpened { why, head, first });
            }
            let number = inner.next;
            inner.next += 1;
            inner.calls.insert(number, Arc::downgrade(&call));
            number
        };
        let place: Arc<dyn Held> = Arc::new(Place {
            shared: Arc::clone(shared),
            number,
            slot: Some(slot),
        });

        let reply = Receiver::new(&call, Side::Client, Some(Arc::clone(&place)));
        let mut sender = Sender::new(&call, Side::Client, Some(place));
        let exchange = Exchange {
            head: request,
            body: Incoming::new(Receiver::new(&call, Side::Server, None)),
            reply: Outgoing::new(Sender::new(&call, Side::Server, None)),
            conn: Arc::clone(&shared.theirs),
        };
        if first.is_some() || end {
            // Nobody has seen the call yet: it cannot have ended.
            let _ = sender.send(first.unwrap_or_default(), end);
        }
        // If it panics, the exchange is dropped on the way, and the client told.
        if let Ok(work) = catch_unwind(AssertUnwindSafe(|| shared.app.call(exchange))) {
            let mut inner = shared.inner();
            while inner.works.try_join_next().is_some() {}
            inner.works.spawn(work.run);
        }
        let outgoing = if end {
            Outgoing::finished()
        } else {
            Outgoing::new(sender)
        };
        Ok((outgoing, Incoming::new(reply)))
    }

    fn load(&self) -> Load {
        self.0.gauge.load()
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        self.0.gauge.changed()
    }

    fn drain(&self) {
        self.0.gauge.drain();
        self.0.settle();
    }

    fn info(&self) -> &ConnInfo {
        &self.0.info
    }
}

/// Drains the connection when it is told to; ends with the connection.
async fn watch(
    shared: Weak<Shared>,
    gauge: Arc<Gauge>,
    mut gone: oneshot::Receiver<()>,
    mut drain: Drain,
) {
    let mut goal = DrainState::Draining;
    loop {
        tokio::select! {
            () = drain.reached(goal) => {}
            () = closed(&gauge) => return,
            _ = &mut gone => return,
        }
        let Some(shared) = shared.upgrade() else {
            return;
        };
        // A teller that is gone leaves an early word behind: that, too, is the end.
        if goal == DrainState::Closing || drain.state() != DrainState::Draining {
            shared.cut();
            return;
        }
        goal = DrainState::Closing;
        gauge.drain();
        shared.settle();
    }
}

/// Resolves when a connection is closed.
async fn closed(gauge: &Gauge) {
    while gauge.state() != State::Closed {
        gauge.changed().await;
    }
}
