//! Nodes: look-up, connections, and which failures lead to another attempt.

use super::*;
use crate::Code;
use crate::exchange::{DrainState, reset};

fn named(name: &'static str) -> impl Fn(Exchange) -> BoxFuture<'static, ()> + Send + Sync {
    move |exchange| Box::pin(async move { reply(exchange.reply, name) })
}

#[tokio::test(start_paused = true)]
async fn calls_go_to_every_node_over_one_connection_each() {
    let network = Network::default();
    network.serve("a:1", named("a"));
    network.serve("b:1", named("b"));
    let target = client(&network, &["a:1", "b:1"]).await.target("echo");
    let mut found = Vec::new();
    for _ in 0..6 {
        found.push(target.unary(&ECHO, String::new()).await.unwrap());
    }
    found.sort();
    assert_eq!(found.concat(), "aaabbb");
    assert_eq!((network.dials("a:1"), network.dials("b:1")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn calls_made_at_once_share_one_dial() {
    let network = Network::default();
    network.serve("a:1", named("a"));
    let target = client(&network, &["a:1"]).await.target("echo");
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        calls.spawn(target.unary(&ECHO, String::new()));
    }
    while let Some(result) = calls.join_next().await {
        result.unwrap().unwrap();
    }
    assert_eq!(network.dials("a:1"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_refuses_costs_no_call_and_is_put_aside() {
    let network = Network::default();
    network.put("a:1", Site::Refuses);
    network.serve("b:1", named("b"));
    let target = client(&network, &["a:1", "b:1"]).await.target("echo");
    for _ in 0..20 {
        assert_eq!(target.unary(&ECHO, String::new()).await.unwrap(), "b");
    }
    assert_eq!(network.dials("a:1"), 1);
    // It is probed at most once a second.
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(target.unary(&ECHO, String::new()).await.unwrap(), "b");
    }
    let dials = network.dials("a:1");
    assert!((2..=11).contains(&dials), "{dials}");
    // And comes back.
    network.serve("a:1", named("a"));
    tokio::time::sleep(Duration::from_secs(90)).await;
    let mut found = Vec::new();
    for _ in 0..10 {
        found.push(target.unary(&ECHO, String::new()).await.unwrap());
    }
    assert!(found.contains(&"a".to_owned()), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_killed_node_fails_no_safe_call() {
    let network = Network::default();
    let slow = |name: &'static str| {
        move |exchange: Exchange| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            reply(exchange.reply, name);
        }
    };
    network.serve("a:1", slow("a"));
    network.serve("b:1", slow("b"));
    let target = client(&network, &["a:1", "b:1"]).await.target("echo");
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..200 {
        let target = target.clone();
        calls.spawn(async move {
            tokio::time::sleep(Duration::from_millis(number)).await;
            target.unary(&SAFE, String::new()).await
        });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    network.kill("a:1");
    while let Some(result) = calls.join_next().await {
        result.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn when_every_node_refuses_the_status_says_all() {
    let network = Network::default();
    let target = client(&network, &["a:1", "b:1"]).await.target("echo");
    let status = target.unary(&ECHO, String::new()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    for part in [
        "\"echo\"",
        "memory",
        "2 seen",
        "2 tried",
        "attempts: 2",
        "refused",
    ] {
        assert!(status.message().contains(part), "{part}: {status}");
    }
    assert_eq!((network.dials("a:1"), network.dials("b:1")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_service_is_unavailable_and_says_where_it_was_looked_for() {
    let network = Network::default();
    let client = client(&network, &[]).await;
    let status = client.target("nobody").unary(&ECHO, String::new()).await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let text = "service \"nobody\" is not in the registry memory: looked for 0.0 s";
    assert!(status.message().starts_with(text), "{status}");
}

#[tokio::test(start_paused = true)]
async fn one_node_heals_within_the_first_pause() {
    let network = Network::default();
    network.put("a:1", Site::Refuses);
    let target = client(&network, &["a:1"]).await.target("echo");
    let call = || target.unary(&ECHO, String::new());
    assert_eq!(call().await.unwrap_err().code(), Code::Unavailable);
    let status = call().await.unwrap_err();
    assert!(status.message().contains("a moment ago"), "{status}");
    assert_eq!(network.dials("a:1"), 1);
    network.serve("a:1", named("a"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(call().await.unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_dial_outlives_the_caller_that_began_it() {
    let network = Network::default();
    network.put("a:1", Site::Hangs);
    let target = client(&network, &["a:1"]).await.target("echo");
    let call = target.unary(&ECHO, String::new());
    let status = call.timeout(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(
        status.message().contains("connection to node a:1"),
        "{status}"
    );
    let status = target.server_streaming(&COUNT, String::new()).await;
    let status = status.unwrap_err();
    assert_eq!(
        status.code(),
        Code::Unavailable,
        "a stream has no deadline: {status}"
    );
    assert!(status.message().contains("within 5s"), "{status}");
    assert_eq!(network.dials("a:1"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_costs_a_second_at_most() {
    let network = Network::default();
    network.put("a:1", Site::Hangs);
    network.serve("b:1", named("b"));
    let target = client(&network, &["a:1", "b:1"]).await.target("echo");
    for _ in 0..4 {
        let start = tokio::time::Instant::now();
        assert_eq!(target.unary(&ECHO, String::new()).await.unwrap(), "b");
        assert!(start.elapsed() <= Duration::from_secs(1));
    }
    assert_eq!(network.dials("a:1"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_node_is_waited_for_when_there_is_no_other() {
    let network = Network::default();
    network.put(
        "a:1",
        Site::Slow(Duration::from_secs(3), script(named("a"))),
    );
    network.put("b:1", Site::Refuses);
    let target = client(&network, &["a:1", "b:1"]).await.target("echo");
    let call = target.unary(&ECHO, String::new()).with_response();
    let response = call.await.unwrap();
    assert_eq!(response.message(), "a");
    assert!((1..=2).contains(&response.attempts()));
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_goes_elsewhere_whatever_the_method() {
    let network = Network::default();
    let refused = Count::default();
    let count = refused.clone();
    network.serve("a:1", move |exchange| {
        count.add();
        async move { exchange.reply.reset(reset::REFUSED_STREAM) }
    });
    network.serve("b:1", named("b"));
    let target = client(&network, &["a:1", "b:1"]).await.target("echo");
    for _ in 0..8 {
        let call = target.unary(&ECHO, String::new()).retries(0);
        assert_eq!(call.await.unwrap(), "b");
    }
    // Each second turn is this node's, and the turn of the second attempt is the other's.
    let unary = refused.get();
    assert!((7..=8).contains(&unary), "{unary}");
    for _ in 0..2 {
        let mut numbers = target
            .server_streaming(&COUNT, String::new())
            .await
            .unwrap();
        assert_eq!(numbers.recv().await.unwrap().as_deref(), Some("b"));
    }
    assert_eq!(refused.get(), unary + 2);
}

#[tokio::test(start_paused = true)]
async fn every_node_is_tried_once() {
    let network = Network::default();
    let refused = Count::default();
    for address in ["a:1", "b:1", "c:1"] {
        let count = refused.clone();
        network.serve(address, move |exchange| {
            count.add();
            async move { exchange.reply.reset(reset::REFUSED_STREAM) }
        });
    }
    let target = client(&network, &["a:1", "b:1", "c:1"])
        .await
        .target("echo");
    let status = target.unary(&SAFE, String::new()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(refused.get(), 3);
    assert!(status.message().contains("attempts: 3"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn only_what_is_safe_is_repeated() {
    let network = Network::default();
    let seen = Count::default();
    for address in ["a:1", "b:1"] {
        let count = seen.clone();
        network.serve(address, move |exchange| {
            count.add();
            async move { refuse(exchange.reply, 14, "busy") }
        });
    }
    let target = client(&network, &["a:1", "b:1"]).await.target("echo");
    let calls = |expected: usize, before: usize, seen: &Count| {
        assert_eq!(seen.get() - before, expected);
        seen.get()
    };
    let status = target.unary(&ECHO, String::new()).retries(5).await;
    assert_eq!(status.unwrap_err().message(), "busy");
    let before = calls(1, 0, &seen);
    let status = target.unary(&SAFE, String::new()).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "busy")
    );
    let before = calls(2, before, &seen);
    let _ = target.unary(&SAFE, String::new()).retries(0).await;
    let before = calls(1, before, &seen);
    // More often than there are nodes: it comes back to them, after a pause.
    let start = tokio::time::Instant::now();
    let _ = target.unary(&SAFE, String::new()).retries(3).await;
    calls(4, before, &seen);
    assert!(start.elapsed() >= Duration::from_millis(80));
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_had_begun_is_not_repeated() {
    let network = Network::default();
    let seen = Count::default();
    let count = seen.clone();
    network.serve("a:1", move |exchange| {
        count.add();
        async move {
            let mut out = exchange.reply;
            out.head(head(), false).unwrap();
            out.data(framed("a"), false).unwrap();
            out.trailers(status(14, "lost")).unwrap();
        }
    });
    let target = client(&network, &["a:1"]).await.target("echo");
    let status = target.unary(&SAFE, String::new()).await.unwrap_err();
    assert_eq!(status.message(), "lost");
    assert_eq!(seen.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_attempt_starts_that_has_no_time() {
    let network = Network::default();
    let seen = Count::default();
    let count = seen.clone();
    network.serve("a:1", move |exchange| {
        count.add();
        async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            refuse(exchange.reply, 14, "busy");
        }
    });
    let target = client(&network, &["a:1"]).await.target("echo");
    let call = target.unary(&SAFE, String::new()).retries(9);
    let status = call.timeout(Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(status.message(), "busy");
    assert_eq!(seen.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_costs_no_call_though_there_is_one_node() {
    let network = Network::default();
    network.serve("a:1", |exchange: Exchange| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        reply(exchange.reply, "a");
    });
    let target = client(&network, &["a:1"]).await.target("echo");
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..100 {
        let target = target.clone();
        calls.spawn(async move {
            tokio::time::sleep(Duration::from_millis(number)).await;
            target.unary(&ECHO, String::new()).await
        });
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let drainers = network.drainers("a:1");
    drainers[0].advance(DrainState::Draining);
    while let Some(result) = calls.join_next().await {
        result.unwrap().unwrap();
    }
    assert_eq!(network.dials("a:1"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_busy_connection_gets_company_up_to_the_limit() {
    let network = Network::default();
    network.serve("a:1", |exchange: Exchange| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        reply(exchange.reply, "a");
    });
    let client = client(&network, &["a:1"]).await;
    let options = ClientOptions::new().max_connections_per_node(3);
    let target = client.with(options).unwrap().target("echo");
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..900 {
        let target = target.clone();
        calls.spawn(async move { target.unary(&ECHO, String::new()).await });
        tokio::task::yield_now().await;
    }
    while let Some(result) = calls.join_next().await {
        result.unwrap().unwrap();
    }
    assert_eq!(network.dials("a:1"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_uses_is_closed() {
    let network = Network::default();
    network.serve("a:1", named("a"));
    let target = client(&network, &["a:1"]).await.target("echo");
    target.unary(&ECHO, String::new()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
    target.unary(&ECHO, String::new()).await.unwrap();
    assert_eq!(network.dials("a:1"), 1);
    let drainer = network.drainers("a:1").remove(0);
    let start = tokio::time::Instant::now();
    drainer.drained().await;
    assert!(start.elapsed() > Duration::from_secs(540));
    assert!(start.elapsed() <= Duration::from_secs(660));
    target.unary(&ECHO, String::new()).await.unwrap();
    assert_eq!(network.dials("a:1"), 2);
}

#[tokio::test(start_paused = true)]
async fn the_last_client_takes_its_connections_with_it() {
    let network = Network::default();
    network.serve("a:1", named("a"));
    let client = client(&network, &["a:1"]).await;
    client
        .target("echo")
        .unary(&ECHO, String::new())
        .await
        .unwrap();
    let drainer = network.drainers("a:1").remove(0);
    drop(client);
    let start = tokio::time::Instant::now();
    drainer.drained().await;
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_address_needs_no_registry() {
    let network = Network::default();
    network.serve("a:1", named("a"));
    network.serve("x:9", named("x"));
    let target = client(&network, &["a:1"]).await.target("echo");
    let call = target.unary(&ECHO, String::new()).address("x:9");
    let response = call.with_response().await.unwrap();
    assert_eq!(response.message(), "x");
    assert_eq!(response.node().unwrap().address, "x:9");
    let call = target.unary(&ECHO, String::new()).address("y:9");
    let status = call.await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("y:9"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_proxy_gets_every_call() {
    let network = Network::default();
    network.serve("proxy:1", |exchange: Exchange| async move {
        let path = exchange.head.path().to_owned();
        reply(exchange.reply, &path);
    });
    let client = client(&network, &["a:1"]).await;
    let client = client.with(ClientOptions::new().proxy("proxy:1")).unwrap();
    let reply = client.target("shop").unary(&ECHO, String::new()).await;
    assert_eq!(reply.unwrap(), "/shop.Echo/Say");
}
