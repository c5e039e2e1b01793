//! A subscription's behaviour, over the broker in memory and on a paused clock.
//!
//! | file | what |
//! |---|---|
//! | `handling` | what a handler sees, how many run at once, in which order |
//! | `failing` | errors, panics, time-outs, retries, dead letters, what cannot be decoded |
//! | `ending` | opening, stopping, brokers that go away |
//! | `batches` | several events at once |

mod batches;
mod ending;
mod failing;
mod handling;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::broker::{Delivery, Event, Memory, Publisher};
use crate::lock::lock;
use crate::status::Status;

/// Longer than anything takes here.
const LONG: Duration = Duration::from_secs(3600);

fn memory() -> AnyBroker {
    AnyBroker::new(Memory::new())
}

/// The topic `t`, kept until it is handled.
fn kept() -> Topic {
    Topic::new("t").queue("q").delivery(Delivery::AtLeastOnce)
}

fn publisher(broker: &AnyBroker) -> Publisher<String> {
    Publisher::<String>::new(broker, "t")
        .delivery(Delivery::AtLeastOnce)
        .unwrap()
}

async fn publish(broker: &AnyBroker, texts: impl IntoIterator<Item = &str>) {
    let texts: Vec<_> = texts.into_iter().map(str::to_owned).collect();
    publisher(broker).publish_all(&texts).await.unwrap();
}

/// Waits until the counters are as they should be; the paused clock runs meanwhile.
async fn until(subscription: &Subscription, reached: impl Fn(&Stats) -> bool) -> Stats {
    match tokio::time::timeout(LONG, subscription.reached(&reached)).await {
        Ok(stats) if reached(&stats) => stats,
        _ => panic!("never reached: {:?}", subscription.stats()),
    }
}

/// What handlers note down, with the time since its beginning.
#[derive(Clone)]
struct Notes(Arc<Mutex<Vec<String>>>, Instant);

impl Notes {
    fn new() -> Notes {
        Notes(Arc::default(), Instant::now())
    }

    fn add(&self, text: impl Into<String>) {
        lock(&self.0).push(text.into());
    }

    /// With the time in milliseconds.
    fn timed(&self, text: impl std::fmt::Display) {
        let at = self.1.elapsed().as_millis();
        self.add(format!("{at} {text}"));
    }

    fn all(&self) -> Vec<String> {
        lock(&self.0).clone()
    }
}

/// Subscribes and waits until it is open.
async fn open<E, F, Fut>(broker: &AnyBroker, topic: Topic, handler: F) -> Subscription
where
    E: Payload,
    F: Fn(Context, E) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Outcome<()>> + Send + 'static,
{
    let subscription = subscribe(broker, topic, handler).unwrap();
    subscription.ready().await.unwrap();
    subscription
}
