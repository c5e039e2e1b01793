//! Events that are handed out again.

use std::time::{Duration, Instant};

use micro_runtime::broker::{Broker, Consumer, Delivery, Redis, Topic};
use micro_tests::consumer::{SOON, next, publish, silent, taken, text};
use micro_tests::proxy::Proxy;

use crate::raw::Reply;
use crate::server::Store;

const LEAST: Delivery = Delivery::AtLeastOnce;

fn queue() -> Topic {
    Topic::new("t")
        .queue("q")
        .delivery(LEAST)
        .ack_wait(Duration::from_secs(1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_comes_again_in_its_time_and_holds_up_nobody() {
    let store = Store::start().await;
    let broker = store.broker();
    for topic in [queue(), Topic::new("t").delivery(LEAST)] {
        let mut ours = broker.subscribe(&topic).await.unwrap();
        for body in ["bad", "good", "better"] {
            publish(&broker, "t", body, LEAST).await;
        }
        let bad = next(&mut ours).await;
        assert_eq!((&*text(&bad), bad.attempt()), ("bad", 1));
        let begun = Instant::now();
        bad.nack(Duration::from_secs(3)).await.unwrap();
        assert_eq!(taken(&mut ours).await, "good");
        assert_eq!(taken(&mut ours).await, "better");
        let again = next(&mut ours).await;
        assert!(begun.elapsed() >= Duration::from_secs(3));
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!((&*text(&again), again.attempt()), ("bad", 2));
        again.nack(Duration::ZERO).await.unwrap();
        let again = next(&mut ours).await;
        assert_eq!((&*text(&again), again.attempt()), ("bad", 3));
        again.ack().await.unwrap();
        silent(&mut ours, Duration::from_millis(1500)).await;
        ours.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_worked_on_goes_back_uncounted() {
    let store = Store::start().await;
    let broker = store.broker();
    // Long, so that it is not this time which brings it back.
    let queue = queue().ack_wait(Duration::from_secs(600)).concurrency(3);
    let mut leaves = broker.subscribe(&queue).await.unwrap();
    for body in ["a", "b", "c"] {
        publish(&broker, "t", body, LEAST).await;
    }
    // Dropped, held, refused for a while, and never looked at.
    drop(next(&mut leaves).await);
    let again = next(&mut leaves).await;
    let held = next(&mut leaves).await;
    again.nack(Duration::from_secs(5)).await.unwrap();
    let began = Instant::now();
    leaves.close().await;
    let mut stays = store.broker().subscribe(&queue).await.unwrap();
    let mut came = Vec::new();
    for _ in 0..3 {
        let event = next(&mut stays).await;
        let late = began.elapsed() >= Duration::from_millis(4900);
        came.push((text(&event), event.attempt(), late));
        event.ack().await.unwrap();
    }
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
    came.sort();
    let again = text(&again);
    let expected = ["a", "b", "c"].map(|body| {
        let is_again = body == again;
        (body.to_owned(), 1 + u32::from(is_again), is_again)
    });
    assert_eq!(came, expected);
    assert!(held.ack().await.is_err(), "it is somebody else's now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_dead_had_goes_to_the_living_and_the_living_keep_theirs() {
    let store = Store::start().await;
    let wire = Proxy::to(store.address()).await;
    let far = Redis::new([wire.address()]);
    let queue = || queue().ack_wait(Duration::from_secs(3));
    let mut dies = far.subscribe(&queue()).await.unwrap();
    publish(&store.broker(), "t", "x", LEAST).await;
    let had = next(&mut dies).await;
    let mut lives = store.broker().subscribe(&queue()).await.unwrap();
    // Twice what the dead are given: it is worked on.
    silent(&mut lives, Duration::from_secs(6)).await;
    wire.refuse();
    let begun = Instant::now();
    let taken_over = next(&mut lives).await;
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!((&*text(&taken_over), taken_over.attempt()), ("x", 2));
    taken_over.ack().await.unwrap();
    wire.heal();
    // The one that was thought dead is back: its word comes late, and does no harm.
    had.ack().await.unwrap();
    publish(&store.broker(), "t", "y", LEAST).await;
    let next_one = tokio::select! {
        event = next(&mut dies) => event,
        event = next(&mut lives) => event,
    };
    assert_eq!(text(&next_one), "y");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_lost_is_found() {
    let store = Store::start().await;
    let broker = store.broker();
    let mut ours = broker
        .subscribe(&queue().ack_wait(Duration::from_secs(600)))
        .await
        .unwrap();
    publish(&broker, "t", "first", LEAST).await;
    assert_eq!(taken(&mut ours).await, "first");
    let mut raw = store.raw().await;
    // As if the server had handed it to us and the answer had not come.
    let consumers = raw
        .ask(&["XINFO", "CONSUMERS", "micro:t", "q"])
        .await
        .list();
    let Reply::Text(ours_name) = consumers[0].clone().list()[1].clone() else {
        panic!("{consumers:?}");
    };
    // Both in one step of the server's, before anybody who waits is served.
    raw.ask(&["MULTI"]).await;
    raw.ask(&[
        "XADD",
        "micro:t",
        "*",
        "id",
        "i",
        "message",
        r#"{"Header":{},"Body":"aGk="}"#,
    ])
    .await;
    raw.ask(&[
        "XREADGROUP",
        "GROUP",
        "q",
        &ours_name,
        "STREAMS",
        "micro:t",
        ">",
    ])
    .await;
    raw.ask(&["EXEC"]).await;
    silent(&mut ours, Duration::from_millis(300)).await;
    raw.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
        .await;
    let found = next(&mut ours).await;
    assert_eq!((&*text(&found), found.attempt()), ("hi", 1));
    found.ack().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_gone_is_made_again() {
    let store = Store::start().await;
    let broker = store.broker();
    let mut queue = broker.subscribe(&queue()).await.unwrap();
    let mut all = broker
        .subscribe(&Topic::new("t").delivery(LEAST))
        .await
        .unwrap();
    publish(&broker, "t", "before", LEAST).await;
    assert_eq!(taken(&mut queue).await, "before");
    assert_eq!(taken(&mut all).await, "before");
    store.raw().await.ask(&["FLUSHALL"]).await;
    publish(&broker, "t", "after", LEAST).await;
    assert_eq!(taken(&mut queue).await, "after");
    assert_eq!(taken(&mut all).await, "after");
    // One that somebody has removed begins behind what its subscriber knows.
    let mut raw = store.raw().await;
    for group in raw.ask(&["XINFO", "GROUPS", "micro:t"]).await.list() {
        let Reply::Text(name) = group.list()[1].clone() else {
            panic!("a group has a name");
        };
        if name.starts_with('~') {
            raw.ask(&["XGROUP", "DESTROY", "micro:t", &name]).await;
        }
    }
    publish(&broker, "t", "later", LEAST).await;
    assert_eq!(taken(&mut all).await, "later");
    assert_eq!(taken(&mut queue).await, "later");
    tokio::time::timeout(SOON, queue.close()).await.unwrap();
}
