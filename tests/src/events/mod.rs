//! What tests of brokers share: subscriptions that are read by hand.

mod go;

use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use micro_runtime::broker::{Broker, Consumer, Delivery, Event, Message, Topic};
use micro_runtime::{Deadline, Error};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use go::go;

/// How long anything may take that happens at once.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The next event of a subscription.
///
/// # Errors
/// The subscription ended, or nothing came in time.
pub async fn next(consumer: &mut impl Consumer) -> Result<Event, String> {
    let next = std::future::poll_fn(|cx| Stream::poll_next(Pin::new(&mut *consumer), cx));
    match timeout(PATIENCE, next).await {
        Ok(Some(Ok(event))) => Ok(event),
        Ok(Some(Err(error))) => Err(format!("the subscription ended: {error:?}")),
        Ok(None) => Err("the subscription ended".to_owned()),
        Err(_) => Err(format!("no event within {PATIENCE:?}")),
    }
}

/// Publishes at most once, within [`PATIENCE`].
///
/// # Errors
/// What the broker says.
pub async fn publish(broker: &impl Broker, message: Message) -> Result<(), Error> {
    let deadline = Deadline::after(PATIENCE);
    broker
        .publish(message, Delivery::AtMostOnce, deadline)
        .await
}

/// A subscription whose events are acknowledged as they come. Aborting the task drops it.
#[derive(Debug)]
pub struct Acking {
    /// The events, acknowledged.
    pub events: tokio::sync::mpsc::UnboundedReceiver<Event>,
    task: JoinHandle<()>,
}

// ===== impl Acking =====

impl Acking {
    /// Subscribes.
    ///
    /// # Errors
    /// What the broker says.
    pub async fn subscribe(broker: &impl Broker, topic: &Topic) -> Result<Acking, Error> {
        let mut consumer = broker.subscribe(topic).await?;
        let (sender, events) = tokio::sync::mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            loop {
                let next =
                    std::future::poll_fn(|cx| Stream::poll_next(Pin::new(&mut consumer), cx));
                let event = tokio::select! {
                    event = next => event,
                    () = sender.closed() => break,
                };
                let Some(Ok(event)) = event else { break };
                if event.ack().await.is_err() || sender.send(event).is_err() {
                    break;
                }
            }
            consumer.close().await;
        });
        Ok(Acking { events, task })
    }

    /// The next event.
    ///
    /// # Errors
    /// The subscription ended, or nothing came in time.
    pub async fn next(&mut self) -> Result<Event, String> {
        match timeout(PATIENCE, self.events.recv()).await {
            Ok(Some(event)) => Ok(event),
            Ok(None) => Err("the subscription ended".to_owned()),
            Err(_) => Err(format!("no event within {PATIENCE:?}")),
        }
    }

    /// Closes the subscription, and gives what it had still got.
    pub async fn close(self) -> Vec<Event> {
        let Acking { mut events, task } = self;
        events.close();
        let mut rest = Vec::new();
        while let Some(event) = events.recv().await {
            rest.push(event);
        }
        let _ = task.await;
        rest
    }
}
