//! What tests of brokers do with subscriptions: take events one by one, within a time.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use micro_runtime::broker::{Broker, Consumer, Delivery, Event, Message};
use micro_runtime::{Deadline, Error};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long an event may take that is on its way.
pub const SOON: Duration = Duration::from_secs(60);

/// The next item, whatever it is.
pub async fn item<C: Consumer>(consumer: &mut C) -> Option<Result<Event, Error>> {
    poll_fn(|cx| Pin::new(&mut *consumer).poll_next(cx)).await
}

/// The next event.
///
/// # Panics
/// There is none within 60 s, or an error, or the end.
pub async fn next<C: Consumer>(consumer: &mut C) -> Event {
    timeout(SOON, item(consumer))
        .await
        .unwrap_or_else(|_| panic!("expected an event within {SOON:?}, found none"))
        .expect("the subscription ended")
        .unwrap_or_else(|error| panic!("the subscription ended: {error:?}"))
}

/// The body of the next event, as text, once it is acknowledged.
pub async fn taken<C: Consumer>(consumer: &mut C) -> String {
    let event = next(consumer).await;
    event.ack().await.unwrap();
    text(&event)
}

/// The body as text.
#[must_use]
pub fn text(event: &Event) -> String {
    String::from_utf8_lossy(event.body()).into_owned()
}

/// That no event comes for this long.
///
/// # Panics
/// One comes.
pub async fn silent<C: Consumer>(consumer: &mut C, time: Duration) {
    if let Ok(item) = timeout(time, item(consumer)).await {
        panic!("expected no event for {time:?}, found {item:?}");
    }
}

/// A message as publishers make them, whose body is this text.
#[must_use]
pub fn message(topic: &str, body: &str) -> Message {
    Message::new(topic, body.to_owned())
        .id(format!("id-{body}"))
        .header("content-type", "text/plain")
        .header("micro-topic", topic)
        .header("micro-id", format!("id-{body}"))
}

/// Publishes the text within 60 s.
///
/// # Panics
/// It is refused.
pub async fn publish(broker: &impl Broker, topic: &str, body: &str, delivery: Delivery) {
    let published = broker.publish(message(topic, body), delivery, Deadline::after(SOON));
    published.await.unwrap();
}

/// Takes and acknowledges events until each of these numbers was there, and says how often each was.
///
/// # Panics
/// That takes longer than this.
pub async fn collect<C: Consumer>(
    consumers: &mut [C],
    numbers: usize,
    limit: Duration,
) -> BTreeMap<usize, usize> {
    let mut seen = BTreeMap::new();
    let collecting = async {
        while seen.len() < numbers {
            let event = poll_fn(|cx| {
                for consumer in consumers.iter_mut() {
                    let polled = Pin::new(&mut *consumer).poll_next(cx);
                    if polled.is_ready() {
                        return polled;
                    }
                }
                std::task::Poll::Pending
            });
            let event = event.await.expect("a subscription ended").unwrap();
            event.ack().await.unwrap();
            *seen
                .entry(text(&event).parse().expect("a number"))
                .or_default() += 1;
        }
    };
    let done = timeout(limit, collecting).await;
    let missing = (0..numbers).filter(|number| !seen.contains_key(number));
    assert!(
        done.is_ok(),
        "within {limit:?} {} of {numbers} came, these did not: {:?}",
        seen.len(),
        missing.take(20).collect::<Vec<_>>()
    );
    seen
}

/// Takes and acknowledges events in a task of its own until the subscription ends or is dropped with the task,
/// and counts each number.
pub fn count<C: Consumer>(
    mut consumer: C,
    seen: &Arc<Mutex<BTreeMap<usize, usize>>>,
) -> JoinHandle<()> {
    let seen = Arc::clone(seen);
    tokio::spawn(async move {
        while let Some(Ok(event)) = item(&mut consumer).await {
            let number = text(&event).parse().expect("a number");
            *seen.lock().unwrap().entry(number).or_default() += 1;
            // A server that is away now is told later, or hands it out again.
            tokio::spawn(async move { event.ack().await });
        }
    })
}

/// Publishes numbers at least once, eight at a time, until it is told to stop; says how many.
pub fn numbers<B: Broker + Clone>(
    broker: &B,
    topic: &'static str,
    stop: &Arc<AtomicBool>,
) -> JoinHandle<usize> {
    let (broker, stop) = (broker.clone(), Arc::clone(stop));
    tokio::spawn(async move {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            let group = (number..number + 8).map(|number| {
                let broker = broker.clone();
                tokio::spawn(async move {
                    let message = message(topic, &number.to_string());
                    let deadline = Deadline::after(Duration::from_secs(60));
                    broker
                        .publish(message, Delivery::AtLeastOnce, deadline)
                        .await
                })
            });
            for published in group.collect::<Vec<_>>() {
                published.await.unwrap().unwrap();
            }
            number += 8;
        }
        number
    })
}
