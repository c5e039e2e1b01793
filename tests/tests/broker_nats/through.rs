//! Through publishers and subscriptions, as users have them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use micro_runtime::broker::{AnyBroker, Event, Publisher, Topic, subscribe};
use micro_runtime::{Code, Context, Status};
use micro_tests::nats::{Hub, NEW, OLD, Raw};

use crate::kit::{LEAST, broker, next, topic, until};

/// What fails every time and what cannot be decoded reach the dead letter, and hold up nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_reaches_the_dead_letter() {
    for program in [NEW, OLD] {
        let hub = Hub::jetstream(program).await;
        let ours = AnyBroker::new(broker(&hub));
        let mut dead = crate::kit::subscribe(&broker(&hub), &topic("dead").queue("d")).await;
        let done = Arc::new(AtomicU32::new(0));
        let wanted = topic("t")
            .queue("q")
            .concurrency(4)
            .dead_letter("dead")
            .max_attempts(3)
            .retry_delay(Duration::from_millis(20));
        let handled = Arc::clone(&done);
        let subscription = subscribe(&ours, wanted, move |_: Context, text: String| {
            let handled = Arc::clone(&handled);
            async move {
                if text == "poison" {
                    return Err(Status::new(Code::Internal, "it cannot be"));
                }
                handled.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        })
        .unwrap();
        subscription.ready().await.unwrap();
        let publisher = Publisher::<String>::new(&ours, "t")
            .delivery(LEAST)
            .unwrap();
        publisher.publish(&"poison".to_owned()).await.unwrap();
        for _ in 0..50 {
            publisher.publish(&"good".to_owned()).await.unwrap();
        }
        let letter = next(&mut dead).await;
        assert_eq!(letter.headers().get("micro-dead-attempts"), Some("3"));
        assert_eq!(letter.headers().get("micro-dead-topic"), Some("t"));
        letter.ack().await.unwrap();
        until("all good ones are handled", async || {
            done.load(Ordering::Relaxed) == 50
        })
        .await;

        let mut raw = Raw::connect(&hub.address()).await;
        raw.publish("t", b"\xff{garbage").await;
        raw.flush().await;
        let letter = next(&mut dead).await;
        assert_eq!(&letter.body()[..], b"\xff{garbage");
        letter.ack().await.unwrap();
        until("both are acknowledged", async || {
            subscription.stats().dead_lettered == 2
        })
        .await;
        assert_eq!(subscription.stats().undecodable, 1);
        assert_eq!(subscription.stats().retried, 2);
        subscription.stop(Duration::from_secs(5)).await;
    }
}

/// A stop in the middle of work: what was not handled is handled by the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_gives_back_what_is_not_done() {
    let hub = Hub::jetstream(NEW).await;
    let ours = AnyBroker::new(broker(&hub));
    let wanted = || topic("t").queue("q").concurrency(8);
    let hanging = subscribe(&ours, wanted(), |_: Context, _: Event| {
        std::future::pending()
    })
    .unwrap();
    hanging.ready().await.unwrap();
    let publisher = Publisher::<String>::new(&ours, "t")
        .delivery(LEAST)
        .unwrap();
    for _ in 0..20 {
        publisher.publish(&"x".to_owned()).await.unwrap();
    }
    until("some are out", async || hanging.stats().received == 8).await;
    hanging.stop(Duration::ZERO).await;
    let done = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&done);
    let good = subscribe(&ours, wanted(), move |_: Context, _: Event| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Ok(()) }
    })
    .unwrap();
    until("all are handled", async || {
        done.load(Ordering::Relaxed) == 20
    })
    .await;
    good.stop(Duration::from_secs(5)).await;
}

/// At most once through the same door.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_most_once_too() {
    let hub = Hub::start(OLD).await;
    let ours = AnyBroker::new(broker(&hub));
    let done = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&done);
    let subscription = subscribe(&ours, Topic::new("t"), move |_: Context, _: String| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Ok(()) }
    })
    .unwrap();
    subscription.ready().await.unwrap();
    let publisher = Publisher::<String>::new(&ours, "t");
    for _ in 0..20 {
        publisher.publish(&"x".to_owned()).await.unwrap();
    }
    until("all are handled", async || {
        done.load(Ordering::Relaxed) == 20
    })
    .await;
    subscription.stop(Duration::from_secs(5)).await;
}
