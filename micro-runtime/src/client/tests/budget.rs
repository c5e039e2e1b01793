//! How much the attempts of many calls add to the load, and what servers say about it.

use super::nodes::named;
use super::*;
use crate::Code;
use crate::client::{AttemptKind, Hedging, MethodOptions, RetryBudget};
use crate::exchange::reset;
use tokio::time::Instant;

/// A node that answers with this code, and counts.
fn answers(network: &Network, address: &str, code: u64, seen: &Count) {
    let count = seen.clone();
    network.serve(address, move |exchange| {
        count.add();
        async move { refuse(exchange.reply, code, "busy") }
    });
}

/// The same with a pushback, once; from then on it answers well.
fn pushes_back(network: &Network, address: &str, pushback: &'static str, seen: &Count) {
    let count = seen.clone();
    network.serve(address, move |exchange| {
        let first = count.add() == 0;
        async move {
            if !first {
                return reply(exchange.reply, "well");
            }
            let mut head = head();
            head.fields.slot(Slot::GrpcStatus, FieldValue::Number(14));
            head.fields.text(
                Bytes::from_static(b"grpc-retry-pushback-ms"),
                FieldValue::Static(pushback),
            );
            let mut out = exchange.reply;
            out.head(head, true).unwrap();
        }
    });
}

const NODES: [&str; 4] = ["a:1", "b:1", "c:1", "d:1"];

/// Makes calls, a thousand a second, at once or one after the other; all of them fail.
async fn storm(target: &Target, calls: usize, at_once: bool) {
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..calls {
        tokio::time::sleep(Duration::from_millis(1)).await;
        all.spawn(target.unary(&SAFE, String::new()));
        if !at_once {
            let _ = all.join_next().await;
        }
    }
    while let Some(result) = all.join_next().await {
        let status = result.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_that_answer_unavailable_get_a_fifth_more_at_most() {
    for at_once in [true, false] {
        let network = Network::default();
        let seen = Count::default();
        for node in NODES {
            answers(&network, node, 14, &seen);
        }
        let target = client(&network, &NODES).await.target("echo");
        storm(&target, 2000, at_once).await;
        let attempts = seen.get();
        assert!((2000..=2400).contains(&attempts), "{attempts}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_budget_alone_holds_too() {
    let network = Network::default();
    let seen = Count::default();
    for node in NODES {
        answers(&network, node, 14, &seen);
    }
    let client = client(&network, &NODES).await;
    let options = ClientOptions::new().retry_throttle(None).retries(3);
    let target = client.with(options).unwrap().target("echo");
    storm(&target, 3000, true).await;
    let attempts = seen.get();
    // A fifth, and the reserve of ten seconds.
    assert!((3600..=3710).contains(&attempts), "{attempts}");
}

#[tokio::test(start_paused = true)]
async fn nodes_that_refuse_connections_get_next_to_nothing() {
    for at_once in [true, false] {
        let network = Network::default();
        let target = client(&network, &NODES).await.target("echo");
        storm(&target, 2000, at_once).await;
        let dials: usize = NODES.iter().map(|node| network.dials(node)).sum();
        // Four nodes, over three seconds of back-off and probes each.
        assert!((4..=40).contains(&dials), "{dials}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_passed_over_is_no_attempt() {
    let network = Network::default();
    let client = client(&network, &NODES).await;
    let (sender, mut counts) = line();
    let options = ClientOptions::new().interceptor(crate::interceptor::from_fn(
        move |call: crate::interceptor::Invocation, next: crate::interceptor::Next| {
            let sender = sender.clone();
            async move {
                let attempts = call.attempts();
                let result = next.run(call).await;
                sender.send(attempts.list().len()).unwrap();
                result
            }
        },
    ));
    let target = client.with(options).unwrap().target("echo");
    storm(&target, 2000, false).await;
    let mut attempts = 0;
    for _ in 0..2000 {
        attempts += counts.recv().await.unwrap();
    }
    assert!((4..=40).contains(&attempts), "{attempts}");
}

#[tokio::test(start_paused = true)]
async fn nodes_that_refuse_streams_get_twice_the_load_and_a_fifth() {
    let network = Network::default();
    let seen = Count::default();
    for node in NODES {
        let count = seen.clone();
        network.serve(node, move |exchange| {
            count.add();
            async move { exchange.reply.reset(reset::REFUSED_STREAM) }
        });
    }
    let target = client(&network, &NODES).await.target("echo");
    storm(&target, 2000, true).await;
    let attempts = seen.get();
    assert!((4000..=4000 + 500).contains(&attempts), "{attempts}");
}

#[tokio::test(start_paused = true)]
async fn the_throttle_opens_again_when_calls_succeed() {
    let network = Network::default();
    let seen = Count::default();
    answers(&network, "a:1", 14, &seen);
    let client = client(&network, &["a:1"]).await;
    let target = client.target("echo");
    for _ in 0..6 {
        let call = target.unary(&SAFE, String::new());
        call.await.unwrap_err();
    }
    let before = seen.get();
    target.unary(&SAFE, String::new()).await.unwrap_err();
    assert_eq!(seen.get() - before, 1, "throttled");
    // Clients that share the settings share the throttle; calls of unsafe methods give tokens back, too.
    network.serve("a:1", named("a"));
    network.drainers("a:1");
    let other = client.with(ClientOptions::new().retries(2)).unwrap();
    let other = other.target("echo");
    for _ in 0..100 {
        other.unary(&ECHO, String::new()).await.unwrap();
    }
    answers(&network, "a:1", 14, &seen);
    network.drainers("a:1");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = seen.get();
    target.unary(&SAFE, String::new()).await.unwrap_err();
    assert_eq!(seen.get() - before, 2, "repeated once");
}

#[tokio::test(start_paused = true)]
async fn a_server_names_the_pause_or_forbids_another_attempt() {
    for (pushback, calls, pause) in [
        ("300", 2, 300),
        ("0", 2, 0),
        ("-1", 1, 0),
        ("soon", 1, 0),
        // Longer than there is time.
        ("4000", 1, 0),
    ] {
        let network = Network::default();
        let seen = Count::default();
        pushes_back(&network, "a:1", pushback, &seen);
        pushes_back(&network, "b:1", pushback, &seen);
        let target = client(&network, &["a:1", "b:1"]).await.target("echo");
        let start = Instant::now();
        let call = target.unary(&SAFE, String::new());
        let result = call.timeout(Duration::from_secs(3)).await;
        assert_eq!(result.is_ok(), calls == 2, "{pushback}: {result:?}");
        assert_eq!(seen.get(), calls, "{pushback}");
        let millis = start.elapsed().as_millis();
        assert!(
            (pause..=pause + 1).contains(&millis),
            "{pushback}: {millis}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeat_says_so_and_how_much_time_is_left() {
    let network = Network::default();
    let (sender, mut heads) = line();
    for node in ["a:1", "b:1"] {
        let sender = sender.clone();
        network.serve(node, move |exchange: Exchange| {
            let field = |name: &str| {
                let mut rest = exchange.head.rest();
                let found = rest.find(|(found, _)| *found == name);
                found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            };
            let left = exchange.head.get_str(Slot::GrpcTimeout).unwrap().to_owned();
            sender
                .send((field("grpc-previous-rpc-attempts"), left))
                .unwrap();
            async move {
                tokio::time::sleep(Duration::from_millis(400)).await;
                refuse(exchange.reply, 14, "busy");
            }
        });
    }
    let target = client(&network, &["a:1", "b:1"]).await.target("echo");
    let call = target.unary(&SAFE, String::new()).retries(1);
    call.timeout(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(heads.recv().await, Some((None, "1000000u".into())));
    let second = heads.recv().await.unwrap();
    assert_eq!(second, (Some("1".into()), "600000u".into()));
}

#[tokio::test(start_paused = true)]
async fn attempts_are_shown_to_interceptors_and_with_the_reply() {
    let network = Network::default();
    let seen = Count::default();
    answers(&network, "a:1", 14, &seen);
    network.serve("b:1", |exchange: Exchange| async move {
        exchange.reply.reset(reset::REFUSED_STREAM);
    });
    network.serve("c:1", |exchange: Exchange| async move {
        tokio::time::sleep(Duration::from_millis(30)).await;
        reply(exchange.reply, "c");
    });
    let client = client(&network, &["a:1", "b:1", "c:1"]).await;
    // So many failures may close the throttle.
    let options = ClientOptions::new().retry_throttle(None);
    let client = client.with(options).unwrap();
    let (sender, mut seen) = line();
    let spy = crate::interceptor::from_fn(
        move |call: crate::interceptor::Invocation, next: crate::interceptor::Next| {
            let sender = sender.clone();
            async move {
                let attempts = call.attempts();
                assert!(attempts.list().is_empty());
                let result = next.run(call).await;
                sender.send(attempts.list()).unwrap();
                result
            }
        },
    );
    let watched = client.with(ClientOptions::new().interceptor(spy)).unwrap();
    let mut kinds = Vec::new();
    for target in [client.target("echo"), watched.target("echo")] {
        for _ in 0..3 {
            let call = target.unary(&SAFE, String::new()).with_response();
            let response = call.await.unwrap();
            let attempts = response.attempts();
            let last = attempts.last().unwrap();
            assert_eq!(last.node().address, "c:1");
            assert!(last.result().is_ok());
            assert_eq!(last.duration().as_millis(), 30);
            assert_eq!(attempts[0].kind(), AttemptKind::First);
            for (attempt, next) in attempts.iter().zip(&attempts[1..]) {
                let status = attempt.result().unwrap_err();
                assert_eq!(status.code(), Code::Unavailable);
                let expected = match &*attempt.node().address {
                    "a:1" => AttemptKind::Retry,
                    "b:1" => AttemptKind::Transparent,
                    other => panic!("{other}"),
                };
                assert_eq!(next.kind(), expected);
                assert!(next.began() >= attempt.began());
                kinds.push(expected);
            }
            if Arc::ptr_eq(&target.client().0, &watched.0) {
                let shown = seen.recv().await.unwrap();
                assert_eq!(shown.len(), attempts.len());
            }
        }
    }
    assert!(kinds.contains(&AttemptKind::Retry) && kinds.contains(&AttemptKind::Transparent));
    // Of a call that fails as well, and of a stream until it was opened.
    network.kill("c:1");
    let target = watched.target("echo");
    target.unary(&ECHO, String::new()).await.unwrap_err();
    let failed = seen.recv().await.unwrap();
    assert!(!failed.is_empty() && failed.iter().all(|attempt| attempt.result().is_err()));
    network.serve("c:1", named("c"));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let _ = target.server_streaming(&COUNT, String::new()).await;
    let opened = seen.recv().await.unwrap();
    assert!(opened.last().unwrap().result().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_method_has_settings_of_its_own() {
    let network = Network::default();
    let seen = Count::default();
    for node in ["a:1", "b:1"] {
        let count = seen.clone();
        network.serve(node, move |exchange| {
            count.add();
            async move {
                tokio::time::sleep(Duration::from_millis(200)).await;
                refuse(exchange.reply, 14, "busy");
            }
        });
    }
    let client = client(&network, &["a:1", "b:1"]).await;
    let options = ClientOptions::new()
        .retry_throttle(None)
        .retry_budget(RetryBudget::new().ratio(1.0))
        .method("/test.Echo/Say", MethodOptions::new().safe(true))
        .method("Echo.Look", MethodOptions::new().safe(false))
        .method(
            "test.Echo/Count",
            MethodOptions::new().timeout(Duration::from_millis(150)),
        );
    let client = client.with(options).unwrap();
    let target = client.target("echo");
    let mut before = 0;
    let mut calls = || {
        let now = seen.get() - before;
        before = seen.get();
        now
    };
    for _ in 0..2 {
        target.unary(&ECHO, String::new()).await.unwrap_err();
        assert_eq!(calls(), 2, "made safe");
        target.unary(&SAFE, String::new()).await.unwrap_err();
        assert_eq!(calls(), 1, "made unsafe");
    }
    let call = target.unary(&ECHO, String::new()).retries(0);
    call.await.unwrap_err();
    assert_eq!(calls(), 1, "the call's own setting goes before");
    let mut numbers = target
        .server_streaming(&COUNT, String::new())
        .await
        .unwrap();
    let status = numbers.recv().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    calls();
    let named = client.request("echo", "/test.Echo/Say").json("{}");
    named.await.unwrap_err();
    assert_eq!(calls(), 2, "made safe by name");
    let named = client.request("echo", "/test.Echo/Look").json("{}");
    named.await.unwrap_err();
    assert_eq!(calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_may_wait_for_a_node() {
    let network = Network::default();
    network.put("a:1", Site::Refuses);
    let client = client(&network, &["a:1"]).await;
    let target = client.target("echo");
    let other = network.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        other.serve("a:1", named("a"));
    });
    let start = Instant::now();
    let call = target.unary(&ECHO, String::new()).wait_for_ready(true);
    assert_eq!(call.await.unwrap(), "a");
    assert!(start.elapsed() >= Duration::from_millis(1500));
    // Nobody is there.
    network.kill("a:1");
    let start = Instant::now();
    let call = target.unary(&ECHO, String::new()).wait_for_ready(true);
    let status = call.timeout(Duration::from_secs(2)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("refused"), "{status}");
    assert!(start.elapsed() <= Duration::from_millis(2002));
    // Set for the whole client, and taken back for one call.
    let options = ClientOptions::new().wait_for_ready(true);
    let target = client.with(options).unwrap().target("echo");
    let call = target.unary(&ECHO, String::new());
    let status = call.timeout(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let call = target.unary(&ECHO, String::new()).wait_for_ready(false);
    assert_eq!(call.await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_call_may_wait_for_a_service() {
    let network = Network::default();
    network.serve("a:1", named("a"));
    let registry = registry(&[]).await;
    let target = client_of(&network, registry.clone()).target("echo");
    let register = registry.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(20)).await;
        let node = Node {
            id: "a".into(),
            address: "a:1".into(),
            ..Node::default()
        };
        let service = registry::Service {
            name: "echo".into(),
            nodes: vec![node],
            ..registry::Service::default()
        };
        register.register(&service, Duration::ZERO).await.unwrap();
    });
    // A stream has no deadline: it waits as long as it takes.
    let start = Instant::now();
    let opened = target.bidi(&CHAT).wait_for_ready(true);
    opened.await.unwrap();
    let waited = start.elapsed();
    assert!(
        (20_000..=20_600).contains(&waited.as_millis()),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_ends_the_wait() {
    let network = Network::default();
    let seen = Count::default();
    answers(&network, "a:1", 14, &seen);
    let target = client(&network, &["a:1"]).await.target("echo");
    let call = target.unary(&ECHO, String::new()).wait_for_ready(true);
    assert_eq!(call.await.unwrap_err().message(), "busy");
    assert_eq!(seen.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_deadline_does_not_wait_for_days() {
    for hedging in [None, Some(Hedging::after(Duration::from_secs(1)))] {
        for (pushback, repeated) in [("120000", true), ("120001", false), ("2147483647", false)] {
            let network = Network::default();
            let seen = Count::default();
            pushes_back(&network, "a:1", pushback, &seen);
            let client = client(&network, &["a:1"]).await;
            let options = ClientOptions::new().hedging(hedging);
            let target = client.with(options).unwrap().target("echo");
            let start = Instant::now();
            let result = target.unary(&SAFE, String::new()).timeout(None).await;
            assert_eq!(result.is_ok(), repeated, "{pushback}: {result:?}");
            assert!(start.elapsed() <= Duration::from_secs(121), "{pushback}");
        }
    }
}
