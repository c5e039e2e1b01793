//! [`RabbitMqConsumer`]: a subscription, whatever becomes of its connection.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, yield_now};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::config::Config;
use super::declare::{self, QueueName};
use super::fault::{Fault, shown};
use super::inbox::{Handed, Inbox};
use super::link::{Connected, Link};
use super::live::{Live, Passed};
use super::locals::{Locals, Place};
use super::settle::{Gate, Settling, ack_unheard};
use super::wire;
use crate::backoff::Backoff;
use crate::broker::{Consumer, Delivery, Event, Topic};
use crate::error::Error;

/// The pauses between attempts to subscribe again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// How often it is said that a subscription is still not there.
const TELL: Duration = Duration::from_secs(30);

/// How long closing may take.
const CLOSE: Duration = Duration::from_secs(5);

/// So many commands are carried out before acknowledgements are sent.
const AT_ONCE: usize = 64;

/// A subscription of [`RabbitMq`](super::RabbitMq): a stream of events.
///
/// It outlives lost connections, which it makes again by itself, and never ends. Dropping it gives back what
/// was handed out and not settled, at once; settling that has no effect any more. The queue that a subscriber
/// without a queue has at least once is deleted by [`close`](Consumer::close), and otherwise by the server,
/// when nobody has read it for [`absence`](super::RabbitMq::absence).
pub struct RabbitMqConsumer {
    subscription: Arc<Subscription>,
    inbox: Arc<Inbox>,
    commands: mpsc::UnboundedSender<Command>,
    keeper: AbortHandle,
}

/// What a subscription is made of.
pub(super) struct Subscription {
    link: Arc<Link>,
    config: Arc<Config>,
    topic: Topic,
    queue: QueueName,
    gate: Arc<Gate>,
    runtime: Handle,
    /// Where the deliveries go.
    place: Place,
}

/// What receipts and the consumer ask the keeper for; of receipts there are no more than events in flight. They name
/// the connection, and the event by its number there.
#[derive(Debug)]
pub(super) enum Command {
    /// It was handled.
    Ack(u64, u64),
    /// It failed, and goes back to the server.
    Failed(u64, u64),
    /// Nobody worked on it, and it goes back.
    Return(u64, u64),
    /// An event waits for its retry: another one may come in its place.
    Aside(u64),
    /// It has waited, and goes back to the server.
    Back(u64, u64),
    /// No event more is wanted; what was handed out is still settled.
    Stop,
    Close(oneshot::Sender<()>),
}

/// Why a connection's consuming ended.
enum Ended {
    Lost,
    Closed(oneshot::Sender<()>),
    Dropped,
}

// ===== subscribing =====

/// Subscribes, however long that takes.
///
/// # Errors
/// The servers refuse.
pub(super) async fn subscribe(
    link: &Arc<Link>,
    config: &Arc<Config>,
    locals: &Arc<Locals>,
    topic: &Topic,
) -> Result<RabbitMqConsumer, Error> {
    let runtime = Handle::try_current().map_err(|error| {
        Error::config("broker::RabbitMq must be used within a tokio runtime").with_source(error)
    })?;
    let queue = QueueName::of(topic)?;
    let inbox = Arc::<Inbox>::default();
    let place = locals.enter(topic, Arc::clone(&inbox));
    let subscription = Arc::new(Subscription {
        link: Arc::clone(link),
        config: Arc::clone(config),
        topic: topic.clone(),
        queue,
        gate: Arc::new(Gate::new(topic.in_flight())),
        runtime: runtime.clone(),
        place,
    });
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    let mut told = None;
    let live = loop {
        match subscription.open(0).await {
            Ok(live) => break live,
            Err(Fault::Lost(why)) => subscription.tell(&mut told, &why),
            Err(fault) => return Err(fault.into()),
        }
        sleep(backoff.next()).await;
    };
    let (commands, asked) = mpsc::unbounded_channel();
    let keeper = keep(
        Arc::clone(&subscription),
        live,
        Arc::clone(&inbox),
        commands.clone(),
        asked,
    );
    let keeper = runtime.spawn(keeper).abort_handle();
    Ok(RabbitMqConsumer {
        subscription,
        inbox,
        commands,
        keeper,
    })
}

// ===== impl Subscription =====

impl Subscription {
    /// Declares what is needed, and consumes.
    async fn open(&self, number: u64) -> Result<Live, Fault> {
        let connected = self.link.up(&mut None).await?;
        let opened = self.open_on(&connected, number).await;
        if let Err(Fault::Lost(_)) = &opened
            && !connected.connection.status().connected()
        {
            connected.give_up();
            connected.lost().await;
        }
        opened
    }

    async fn open_on(&self, connected: &Arc<Connected>, number: u64) -> Result<Live, Fault> {
        if number > 0 && self.is_own() && !declare::exists(connected, self.queue.as_str()).await? {
            warn!(
                topic = self.topic.name(),
                queue = self.queue.as_str(),
                "The queue of a subscriber is gone, events may have been missed: it was away for too long"
            );
        }
        let queue = declare::queue(connected, &self.config, &self.topic, &self.queue).await?;
        let lost = |error: lapin::Error| Fault::Lost(shown(&error));
        let prefetch = u16::try_from(self.topic.in_flight()).unwrap_or(u16::MAX);
        let live = Live::open(connected, queue, prefetch, number).await;
        let live = live.map_err(lost)?;
        debug!(
            topic = self.topic.name(),
            queue = live.queue(),
            "subscribed"
        );
        Ok(live)
    }

    /// Whether the queue is this subscription's alone, and outlives its connection.
    fn is_own(&self) -> bool {
        self.topic.level() == Delivery::AtLeastOnce && self.topic.queue_name().is_none()
    }

    /// Passes a delivery on to whoever wants it, here or elsewhere.
    pub(super) fn pass_on(&self, handed: Handed) {
        self.place.pass_on(handed, &self.runtime);
    }

    fn tell(&self, told: &mut Option<Instant>, why: &str) {
        if told.is_none_or(|told| told.elapsed() > TELL) {
            *told = Some(Instant::now());
            warn!(
                topic = self.topic.name(),
                why, "A subscription cannot be made, it is tried on"
            );
        }
    }
}

// ===== the keeper =====

/// Passes deliveries on, and subscribes again when a connection is lost.
async fn keep(
    subscription: Arc<Subscription>,
    mut live: Live,
    inbox: Arc<Inbox>,
    commands: mpsc::UnboundedSender<Command>,
    mut asked: mpsc::UnboundedReceiver<Command>,
) {
    loop {
        let number = live.number;
        let mut stopped = false;
        match pump(
            &subscription,
            &mut live,
            &commands,
            &mut asked,
            &mut stopped,
        )
        .await
        {
            Ended::Lost => drop(live),
            Ended::Closed(reply) => {
                live.close(subscription.is_own()).await;
                // Whoever asked may have gone.
                let _ = reply.send(());
                return;
            }
            Ended::Dropped => return,
        }
        inbox.forget(&commands, number);
        let mut again = pin!(reopen(&subscription, number + 1));
        live = loop {
            tokio::select! {
                live = &mut again, if !stopped => break live,
                command = asked.recv() => match command {
                    Some(Command::Close(reply)) => {
                        let _ = reply.send(());
                        return;
                    }
                    // What was handed out came by a connection that is gone: there is nothing left to do.
                    Some(Command::Stop) => stopped = true,
                    // Of a connection that is gone.
                    Some(_) => {}
                    None => return,
                },
            }
        };
    }
}

async fn reopen(subscription: &Subscription, number: u64) -> Live {
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    let mut told = None;
    loop {
        match subscription.open(number).await {
            Ok(live) => return live,
            Err(fault) => subscription.tell(&mut told, fault.text()),
        }
        sleep(backoff.next()).await;
    }
}

/// Passes deliveries on until that ends.
async fn pump(
    subscription: &Subscription,
    live: &mut Live,
    commands: &mpsc::UnboundedSender<Command>,
    asked: &mut mpsc::UnboundedReceiver<Command>,
    stopped: &mut bool,
) -> Ended {
    let connected = Arc::clone(&live.connected);
    let mut lost = pin!(connected.lost());
    loop {
        let command = tokio::select! {
            passed = poll_fn(|cx| live.pass_on(cx, subscription, commands)) => match passed {
                Passed::Lost => return Ended::Lost,
                Passed::Surplus => {
                    let trimmed = tokio::select! {
                        trimmed = live.trim() => trimmed,
                        () = &mut lost => return Ended::Lost,
                    };
                    if let Err(error) = trimmed {
                        return failed(&error);
                    }
                    continue;
                }
            },
            () = &mut lost => return Ended::Lost,
            command = asked.recv() => command,
        };
        // Handlers that are done by now have their events acknowledged together.
        yield_now().await;
        let mut command = command;
        let mut left = AT_ONCE;
        loop {
            let done = match command {
                Some(Command::Close(reply)) => {
                    // Without an effect on a channel that is gone: all comes again.
                    let _ = live.acknowledge();
                    return Ended::Closed(reply);
                }
                Some(command) => {
                    *stopped |= matches!(command, Command::Stop);
                    tokio::select! {
                        biased;
                        done = live.carry_out(command) => done,
                        () = &mut lost => return Ended::Lost,
                    }
                }
                None => return Ended::Dropped,
            };
            if let Err(error) = done {
                return failed(&error);
            }
            left -= 1;
            if left == 0 {
                break;
            }
            match asked.try_recv() {
                Ok(next) => command = Some(next),
                Err(_) => break,
            }
        }
        if let Err(error) = live.acknowledge() {
            return failed(&error);
        }
    }
}

fn failed(error: &lapin::Error) -> Ended {
    debug!(why = shown(error), "a channel of RabbitMQ has failed");
    Ended::Lost
}

// ===== impl RabbitMqConsumer =====

impl RabbitMqConsumer {
    /// The event of a delivery, unless its connection is gone: then it comes again, to somebody.
    fn event(&self, handed: Handed) -> Option<Event> {
        let Handed {
            delivery,
            commands,
            number,
        } = handed;
        if !delivery.acker.usable() {
            return None;
        }
        let topic = &self.subscription.topic;
        let receipt = match topic.level() {
            Delivery::AtMostOnce => {
                ack_unheard(&delivery.acker);
                None
            }
            Delivery::AtLeastOnce => {
                let settling = Settling {
                    acker: delivery.acker.clone(),
                    tag: delivery.delivery_tag,
                    commands,
                    number,
                    runtime: self.subscription.runtime.clone(),
                };
                Some(settling.receipt(&self.subscription.gate))
            }
        };
        Some(wire::event(topic.name(), delivery, receipt))
    }
}

impl Stream for RabbitMqConsumer {
    type Item = Result<Event, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.subscription.gate.poll_room(cx).is_pending() {
                return Poll::Pending;
            }
            match self.inbox.poll_next(cx) {
                Poll::Ready(Some(handed)) => {
                    if let Some(event) = self.event(handed) {
                        return Poll::Ready(Some(Ok(event)));
                    }
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Consumer for RabbitMqConsumer {
    fn stop(&mut self) {
        self.subscription.place.leave();
        // What comes from now on finds it closed, and goes back as well.
        for handed in self.inbox.close() {
            handed.give_back();
        }
        // A subscription that has ended reads nothing.
        let _ = self.commands.send(Command::Stop);
    }

    async fn close(self) {
        let (reply, closed) = oneshot::channel();
        if self.commands.send(Command::Close(reply)).is_ok() {
            // A server that does not answer gives it all back when it finds that the connection is gone.
            let _ = timeout(CLOSE, closed).await;
        }
    }
}

impl Drop for RabbitMqConsumer {
    fn drop(&mut self) {
        // What others that read this queue have passed on goes back by their channels.
        for handed in self.inbox.close() {
            handed.give_back();
        }
        self.keeper.abort();
    }
}

impl std::fmt::Debug for RabbitMqConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RabbitMqConsumer")
            .field("topic", &self.subscription.topic.name())
            .field("queue", &self.subscription.queue.as_str())
            .finish_non_exhaustive()
    }
}
