//! Members of a queue that fail or stop: an event runs in one handler at most, and none is held by who goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use micro_runtime::broker::{AnyBroker, Http, Publisher, Subscription, Topic, subscribe};
use micro_runtime::registry::{Memory, Registry};
use micro_runtime::{Context, Error, Status};
use micro_tests::events::{Acking, PATIENCE, publish};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{broker, entries, message};

/// What a member of the queue does to the events it gets.
#[derive(Clone, Copy)]
enum Does {
    Handles,
    Fails,
    Hangs,
}

/// A member of a queue, in a process of its own.
struct Member {
    subscription: Subscription,
    runs: Arc<AtomicU32>,
    begun: Arc<Notify>,
    _broker: Http,
}

impl Member {
    async fn join(registry: &Memory, does: Does) -> Member {
        let broker = broker(registry);
        let (runs, begun) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let (count, tell) = (Arc::clone(&runs), Arc::clone(&begun));
        let topic = Topic::new("t").queue("q");
        let subscription = subscribe(
            &AnyBroker::new(broker.clone()),
            topic,
            move |_: Context, _: String| {
                count.fetch_add(1, Ordering::SeqCst);
                tell.notify_one();
                async move {
                    match does {
                        Does::Handles => Ok(()),
                        Does::Fails => Err(Status::internal("no")),
                        Does::Hangs => std::future::pending().await,
                    }
                }
            },
        )
        .unwrap();
        subscription.ready().await.unwrap();
        Member {
            subscription,
            runs,
            begun,
            _broker: broker,
        }
    }

    fn runs(&self) -> u32 {
        self.runs.load(Ordering::SeqCst)
    }
}

fn publisher(registry: &Memory) -> Publisher<String> {
    Publisher::new(&AnyBroker::new(broker(registry)), "t").timeout(PATIENCE)
}

/// At most once is at most one run: a handler that failed is told of, and no other one has the event after it.
#[tokio::test]
async fn what_one_failed_to_handle_no_other_one_gets() {
    let registry = Memory::new();
    let members = [
        Member::join(&registry, Does::Fails).await,
        Member::join(&registry, Does::Fails).await,
    ];
    let publisher = publisher(&registry);
    for events in 1..=8 {
        let error = publisher.publish(&"a".to_owned()).await.unwrap_err();
        assert!(error.to_string().contains("500"), "{error}");
        let runs: u32 = members.iter().map(Member::runs).sum();
        assert_eq!(runs, events);
    }
}

/// A handler that is cut short has worked on its event: nobody else does.
#[tokio::test]
async fn what_was_cut_short_no_other_one_gets() {
    let registry = Memory::new();
    let hangs = Member::join(&registry, Does::Hangs).await;
    let publisher = publisher(&registry);
    let publishing = tokio::spawn({
        let publisher = publisher.clone();
        async move { publisher.publish(&"a".to_owned()).await }
    });
    hangs.begun.notified().await;
    let other = Member::join(&registry, Does::Handles).await;
    hangs.subscription.stop(Duration::ZERO).await;
    let error = publishing.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("500"), "{error}");
    assert_eq!((hangs.runs(), other.runs()), (1, 0));
}

/// Whoever stops takes no more events, however long its last handler runs.
#[tokio::test]
async fn who_stops_holds_up_nobody() {
    for concurrency in [1, 4] {
        let registry = Memory::new();
        let theirs = AnyBroker::new(broker(&registry));
        let begun = Arc::new(Notify::new());
        let (tell, done) = (Arc::clone(&begun), Arc::new(Notify::new()));
        let until = Arc::clone(&done);
        let topic = Topic::new("t").queue("q").concurrency(concurrency);
        let stops = subscribe(&theirs, topic, move |_: Context, _: String| {
            let (tell, until) = (Arc::clone(&tell), Arc::clone(&until));
            async move {
                tell.notify_one();
                until.notified().await;
                Ok(())
            }
        })
        .unwrap();
        stops.ready().await.unwrap();
        let publisher = publisher(&registry);
        let first = tokio::spawn({
            let publisher = publisher.clone();
            async move { publisher.publish(&"first".to_owned()).await }
        });
        begun.notified().await;
        let stays = Member::join(&registry, Does::Handles).await;
        let stopping = tokio::spawn({
            let stops = stops.clone();
            async move { stops.stop(Duration::from_secs(60)).await }
        });
        let began = Instant::now();
        while entries(&registry).await.len() > 1 {
            assert!(began.elapsed() < PATIENCE, "still registered");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for _ in 0..20 {
            publisher.publish(&"more".to_owned()).await.unwrap();
        }
        assert!(began.elapsed() < PATIENCE);
        assert_eq!(stays.runs(), 20);
        // What ran when it was asked to stop is handled, and said to be.
        done.notify_one();
        first.await.unwrap().unwrap();
        stopping.await.unwrap();
        assert_eq!(stops.stats().handled, 1);
    }
}

/// A subscription that ends is not missed, also while the registry has not heard of it.
#[tokio::test]
async fn who_unsubscribes_is_no_error() {
    let registry = Memory::new();
    let stays = Member::join(&registry, Does::Handles).await;
    let publisher = publisher(&registry);
    for _ in 0..10 {
        let goes = Member::join(&registry, Does::Handles).await;
        let publishing = tokio::spawn({
            let publisher = publisher.clone();
            async move {
                for _ in 0..20 {
                    publisher.publish(&"a".to_owned()).await?;
                }
                Ok::<_, Error>(())
            }
        });
        goes.subscription.stop(Duration::from_secs(5)).await;
        publishing.await.unwrap().unwrap();
    }
    drop(stays);
}

/// Whoever answers that nobody is subscribed any more is not missed, even if the registry keeps naming him.
#[tokio::test]
async fn who_says_that_he_has_gone_is_not_missed() {
    let registry = Memory::new();
    let ours = broker(&registry);
    let stays = Acking::subscribe(&ours, &Topic::new("other"))
        .await
        .unwrap();
    let mut gone = registry.get("micro.http.broker").await.unwrap().remove(0);
    for (version, id) in [("ff.http.broadcast", "t-1"), ("q", "t-2"), ("q", "t-3")] {
        gone.version = version.to_owned();
        gone.nodes[0].id = id.to_owned();
        let metadata = &mut gone.nodes[0].metadata;
        metadata.insert("topic".to_owned(), "t".to_owned());
        registry.register(&gone, Duration::ZERO).await.unwrap();
    }
    let publisher = broker(&registry);
    for _ in 0..3 {
        publish(&publisher, message("t")).await.unwrap();
    }
    let strict = broker(&registry).require_subscriber(true);
    let error = publish(&strict, message("t")).await.unwrap_err();
    assert!(
        error.to_string().contains("nobody is subscribed"),
        "{error}"
    );
    // Of a queue, the others still have it.
    let member = Member::join(&registry, Does::Handles).await;
    let strict = Publisher::<String>::new(&AnyBroker::new(strict), "t").timeout(PATIENCE);
    let began = Instant::now();
    while strict.publish(&"a".to_owned()).await.is_err() {
        assert!(began.elapsed() < PATIENCE);
    }
    let before = member.runs();
    for _ in 0..10 {
        strict.publish(&"a".to_owned()).await.unwrap();
    }
    assert_eq!(member.runs() - before, 10);
    stays.close().await;
}
