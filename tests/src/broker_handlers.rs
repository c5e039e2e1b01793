//! What users have of a broker that delivers at least once: publishers and handlers.
//!
//! [`broker_contract`](crate::broker_contract) is about brokers alone; here the same servers are used through
//! [`Publisher`] and [`subscribe`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use micro_runtime::broker::{
    AnyBroker, Batch, Broker, Delivery, Message, Publisher, Stats, Subscription, Topic, subscribe,
    subscribe_batch,
};
use micro_runtime::{Code, Context, Status};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use crate::consumer::{next, text};

const LEAST: Delivery = Delivery::AtLeastOnce;

/// The longest that anything may take, on a busy machine.
const LONG: Duration = Duration::from_secs(30);

/// Runs all cases against clients that this makes.
///
/// # Panics
/// One does not hold.
pub async fn run<B: Broker>(make: impl Fn() -> B) {
    let client = || AnyBroker::new(make());
    let begun = Instant::now();
    let told = |case: &str| println!("{case}: {:?}", begun.elapsed());
    poison_goes_to_the_dead_letter_and_holds_up_nobody(&client()).await;
    told("poison");
    a_stop_waits_for_what_runs_and_gives_back_the_rest(&client()).await;
    told("stop");
    batches_come_together_and_fail_alone(&client()).await;
    told("batches");
    keys_keep_their_order(&client()).await;
    told("keys");
    at_most_once_too(&client()).await;
    told("at most once");
}

fn least(name: &str) -> Topic {
    Topic::new(name).delivery(LEAST)
}

fn publisher(broker: &AnyBroker, topic: &str) -> Publisher<String> {
    let publisher = Publisher::<String>::new(broker, topic);
    publisher.delivery(LEAST).unwrap().timeout(LONG)
}

async fn ready(subscription: &Subscription) {
    timeout(LONG, subscription.ready()).await.unwrap().unwrap();
}

/// Waits until the figures are so.
async fn reached(subscription: &Subscription, enough: impl Fn(&Stats) -> bool) -> Stats {
    timeout(LONG, subscription.reached(enough))
        .await
        .unwrap_or_else(|_| panic!("not within {LONG:?}: {subscription:?}"))
}

/// What fails each time, panics or cannot be decoded goes to the dead letter as it came; others are handled
/// meanwhile, and headers arrive.
async fn poison_goes_to_the_dead_letter_and_holds_up_nobody(broker: &AnyBroker) {
    let mut dead = broker
        .subscribe(&least("handlers.dead").queue("dead").concurrency(4))
        .await
        .unwrap();
    let topic = least("handlers.orders")
        .queue("orders")
        .dead_letter("handlers.dead")
        .max_attempts(3)
        .retry_delay(Duration::from_millis(100));
    let (sender, mut handled) = mpsc::unbounded_channel();
    let subscription = subscribe(broker, topic, move |context: Context, order: String| {
        let sender = sender.clone();
        async move {
            let tenant = context.metadata().get("x-tenant").map(str::to_owned);
            sender.send((order.clone(), tenant)).unwrap();
            match order.as_str() {
                "poison" => Err(Status::new(Code::Internal, "as ever")),
                "panic" => panic!("as ever"),
                _ => Ok(()),
            }
        }
    })
    .unwrap();
    ready(&subscription).await;
    let orders = publisher(broker, "handlers.orders");
    // One key: one partition, where one behind another is held up if anything is.
    let garbage = Message::new("handlers.orders", &b"\xff{garbage"[..])
        .key("k")
        .header("content-type", "text/plain");
    orders.publish_raw(garbage).await.unwrap();
    for order in ["poison", "panic", "one", "two"] {
        let publish = orders.publish(&order.to_owned()).key("k");
        publish.metadata("x-tenant", "acme").await.unwrap();
    }
    let mut found = Vec::new();
    for _ in 0..8 {
        let (order, tenant) = timeout(LONG, handled.recv()).await.unwrap().unwrap();
        assert_eq!(tenant.as_deref(), Some("acme"));
        found.push(order);
    }
    found.sort();
    assert_eq!(
        found,
        [
            "one", "panic", "panic", "panic", "poison", "poison", "poison", "two"
        ]
    );
    let mut letters = BTreeMap::new();
    for _ in 0..3 {
        let event = next(&mut dead).await;
        let header = |name| event.headers().get(name).map(str::to_owned);
        assert_eq!(
            header("micro-dead-topic").as_deref(),
            Some("handlers.orders")
        );
        // A text is a message of Protobuf, which begins with a tag and a length.
        let body = text(&event);
        let body = body.trim_start_matches(char::is_control).to_owned();
        letters.insert(body, header("micro-dead-attempts").unwrap());
        event.ack().await.unwrap();
    }
    let expected = [("panic", "3"), ("poison", "3"), ("\u{fffd}{garbage", "1")];
    let expected = expected.map(|(body, attempts)| (body.to_owned(), attempts.to_owned()));
    assert_eq!(letters, BTreeMap::from(expected));
    let stats = reached(&subscription, |stats| stats.dead_lettered == 3).await;
    assert_eq!(
        (
            stats.handled,
            stats.retried,
            stats.undecodable,
            stats.dropped
        ),
        (2, 4, 1, 0)
    );
    subscription.stop(LONG).await;
}

/// What runs when a stop is asked for is finished and does not come again; what is cut short, and what nobody had
/// begun, is handled by who comes next.
async fn a_stop_waits_for_what_runs_and_gives_back_the_rest(broker: &AnyBroker) {
    let topic = || least("handlers.stop").queue("stop").concurrency(2);
    let (begun, mut begins) = mpsc::unbounded_channel();
    let go_on = Arc::new(Notify::new());
    let awaited = Arc::clone(&go_on);
    let first = subscribe(broker, topic(), move |_: Context, order: String| {
        let (begun, awaited) = (begun.clone(), Arc::clone(&awaited));
        async move {
            begun.send(order.clone()).unwrap();
            if order == "finishes" {
                awaited.notified().await;
                return Ok(());
            }
            std::future::pending().await
        }
    })
    .unwrap();
    ready(&first).await;
    let orders = publisher(broker, "handlers.stop");
    for order in ["finishes", "hangs", "a", "b"] {
        orders.publish(&order.to_owned()).key("k").await.unwrap();
    }
    for _ in 0..2 {
        timeout(LONG, begins.recv()).await.unwrap().unwrap();
    }
    let stopping = async {
        let begun = Instant::now();
        first.stop(Duration::from_secs(2)).await;
        begun.elapsed()
    };
    // Polled in this order: it has been asked for when the handler goes on.
    let (took, ()) = tokio::join!(stopping, async { go_on.notify_one() });
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert_eq!((first.stats().handled, first.stats().returned), (1, 1));
    let (sender, mut handled) = mpsc::unbounded_channel();
    let second = subscribe(broker, topic(), move |_: Context, order: String| {
        let sender = sender.clone();
        async move {
            sender.send(order).unwrap();
            Ok(())
        }
    })
    .unwrap();
    ready(&second).await;
    let mut rest = Vec::new();
    for _ in 0..3 {
        rest.push(timeout(LONG, handled.recv()).await.unwrap().unwrap());
    }
    rest.sort();
    assert_eq!(rest, ["a", "b", "hangs"]);
    reached(&second, |stats| stats.handled == 3).await;
    second.stop(LONG).await;
    assert!(handled.try_recv().is_err(), "it comes once");
}

/// Several come together; of a batch that fails each comes again, and on its own.
async fn batches_come_together_and_fail_alone(broker: &AnyBroker) {
    let topic = least("handlers.batch")
        .queue("batch")
        .batch(20, Duration::from_millis(500))
        .max_attempts(5)
        .retry_delay(Duration::from_millis(50));
    let (sender, mut batches) = mpsc::unbounded_channel();
    let failed = Arc::new(AtomicU32::new(0));
    let failing = Arc::clone(&failed);
    let subscription = subscribe_batch(broker, topic, move |_: Context, batch: Batch<String>| {
        let (sender, failing) = (sender.clone(), Arc::clone(&failing));
        async move {
            let (messages, _) = batch.into_parts();
            if messages.iter().any(|message| message == "7")
                && failing.fetch_add(1, Ordering::Relaxed) == 0
            {
                return Err(Status::unavailable("not now"));
            }
            sender.send(messages).unwrap();
            Ok(())
        }
    })
    .unwrap();
    ready(&subscription).await;
    let numbers: Vec<String> = (0..60).map(|number| number.to_string()).collect();
    publisher(broker, "handlers.batch")
        .publish_all(&numbers)
        .key("k")
        .await
        .unwrap();
    let (mut seen, mut largest) = (Vec::new(), 0);
    while seen.len() < numbers.len() {
        let batch = timeout(LONG, batches.recv()).await.unwrap().unwrap();
        largest = largest.max(batch.len());
        seen.extend(batch);
    }
    assert!((2..=20).contains(&largest), "{largest}");
    seen.sort_by_key(|number| number.parse::<u32>().unwrap());
    assert_eq!(seen, numbers);
    subscription.stop(LONG).await;
    assert_eq!(failed.load(Ordering::Relaxed), 2);
}

/// Events of one key are handled in the order of their publishes, one at a time.
async fn keys_keep_their_order(broker: &AnyBroker) {
    let seen = Arc::<Mutex<BTreeMap<u32, Vec<u32>>>>::default();
    let noted = Arc::clone(&seen);
    let topic = least("handlers.keys").queue("keys");
    let subscription = subscribe(broker, topic, move |_: Context, number: String| {
        let noted = Arc::clone(&noted);
        async move {
            let number: u32 = number.parse().unwrap();
            let mut noted = noted.lock().unwrap();
            noted.entry(number % 5).or_default().push(number);
            Ok(())
        }
    })
    .unwrap();
    ready(&subscription).await;
    let publisher = publisher(broker, "handlers.keys");
    for number in 0_u32..100 {
        let publish = publisher.publish(&number.to_string());
        publish.key(format!("key {}", number % 5)).await.unwrap();
    }
    reached(&subscription, |stats| stats.handled == 100).await;
    subscription.stop(LONG).await;
    for (key, numbers) in seen.lock().unwrap().iter() {
        assert_eq!(numbers.len(), 20, "key {key}");
        assert!(numbers.is_sorted(), "key {key}: {numbers:?}");
    }
}

/// At most once through the same door: what fails is not seen again.
async fn at_most_once_too(broker: &AnyBroker) {
    let topic = Topic::new("handlers.once");
    let subscription = subscribe(broker, topic, |_: Context, order: String| async move {
        if order == "3" {
            return Err(Status::unavailable("not now"));
        }
        Ok(())
    })
    .unwrap();
    ready(&subscription).await;
    let publisher = Publisher::<String>::new(broker, "handlers.once").timeout(LONG);
    for number in 0..20 {
        publisher.publish(&number.to_string()).await.unwrap();
    }
    let stats = reached(&subscription, |stats| stats.handled == 19).await;
    assert_eq!((stats.received, stats.failed, stats.retried), (20, 1, 0));
    subscription.stop(LONG).await;
}
