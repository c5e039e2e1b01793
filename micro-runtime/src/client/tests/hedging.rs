//! Calls at several nodes at once.

use super::nodes::named;
use super::*;
use crate::Code;
use crate::client::{AttemptKind, Hedging, MethodOptions, RetryBudget};
use crate::exchange::reset;
use tokio::time::Instant;

const DELAY: Duration = Duration::from_millis(20);

/// A node that takes its time.
fn slow(network: &Network, address: &'static str, time: Duration) -> Count {
    let seen = Count::default();
    let count = seen.clone();
    network.serve(address, move |exchange| {
        count.add();
        async move {
            let mut out = exchange.reply;
            tokio::select! {
                () = tokio::time::sleep(time) => reply(out, address),
                _ = poll_fn(|cx| out.poll_closed(cx)) => {}
            }
        }
    });
    seen
}

/// A node that never answers, and tells how it was given up.
fn hangs(network: &Network, address: &str) -> tokio::sync::mpsc::UnboundedReceiver<Why> {
    let (sender, given_up) = line();
    network.serve(address, move |exchange: Exchange| {
        let sender = sender.clone();
        async move {
            let _ = sender.send(cancelled(exchange.reply).await);
        }
    });
    given_up
}

async fn hedged(network: &Network, nodes: &[&str], hedging: Hedging) -> Target {
    let client = client(network, nodes).await;
    let options = ClientOptions::new().hedging(hedging);
    client.with(options).unwrap().target("echo")
}

#[tokio::test(start_paused = true)]
async fn a_slow_node_is_overtaken_and_told() {
    let network = Network::default();
    let mut given_up = hangs(&network, "a:1");
    network.serve("b:1", named("b"));
    let target = hedged(&network, &["a:1", "b:1"], Hedging::after(DELAY)).await;
    let mut overtaken = 0;
    for _ in 0..10 {
        let start = Instant::now();
        let call = target.unary(&SAFE, String::new()).with_response();
        let response = call.await.unwrap();
        assert_eq!(response.message(), "b");
        let attempts = response.attempts();
        if let [loser, winner] = attempts {
            assert_eq!(start.elapsed(), DELAY);
            assert_eq!(loser.node().address, "a:1");
            assert_eq!(loser.result().unwrap_err().code(), Code::Cancelled);
            assert_eq!(winner.kind(), AttemptKind::Hedge);
            assert_eq!(winner.began(), DELAY);
            assert_eq!(given_up.recv().await, Some(Why::Reset(reset::CANCEL)));
            overtaken += 1;
        } else {
            assert_eq!(start.elapsed(), Duration::ZERO);
            assert_eq!(attempts.len(), 1);
        }
    }
    assert!(overtaken > 0);
}

#[tokio::test(start_paused = true)]
async fn the_first_may_still_win() {
    let network = Network::default();
    let a = slow(&network, "a:1", Duration::from_millis(30));
    let b = slow(&network, "b:1", Duration::from_millis(30));
    let target = hedged(&network, &["a:1", "b:1"], Hedging::after(DELAY)).await;
    let start = Instant::now();
    let call = target.unary(&SAFE, String::new()).with_response();
    let response = call.await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(30));
    assert_eq!(response.attempts().len(), 2);
    assert_eq!(
        response.attempts().last().unwrap().kind(),
        AttemptKind::First
    );
    assert_eq!((a.get(), b.get()), (1, 1), "never twice at one node");
}

#[tokio::test(start_paused = true)]
async fn only_what_is_safe_is_hedged() {
    let network = Network::default();
    let a = slow(&network, "a:1", Duration::from_millis(100));
    let b = slow(&network, "b:1", Duration::from_millis(100));
    let target = hedged(&network, &["a:1", "b:1"], Hedging::after(DELAY)).await;
    target.unary(&ECHO, String::new()).await.unwrap();
    assert_eq!(a.get() + b.get(), 1);
    let options = ClientOptions::new().method("Echo.Look", MethodOptions::new().hedging(None));
    let off = target.client().with(options).unwrap().target("echo");
    off.unary(&SAFE, String::new()).await.unwrap();
    assert_eq!(a.get() + b.get(), 2);
    target.unary(&SAFE, String::new()).await.unwrap();
    assert_eq!(a.get() + b.get(), 4);
}

#[tokio::test(start_paused = true)]
async fn there_are_as_many_attempts_as_allowed_and_no_more_than_nodes() {
    for (allowed, nodes, expected) in [(3, 4, 3), (5, 3, 3), (1, 3, 1), (9, 7, 5)] {
        let network = Network::default();
        let addresses = ["a:1", "b:1", "c:1", "d:1", "e:1", "f:1", "g:1"];
        let time = Duration::from_millis(500);
        let seen: Vec<_> = addresses
            .map(|address| slow(&network, address, time))
            .into();
        let hedging = Hedging::after(DELAY).attempts(allowed);
        let target = hedged(&network, &addresses[..nodes], hedging).await;
        target.unary(&SAFE, String::new()).await.unwrap();
        let seen: Vec<_> = seen.iter().map(Count::get).collect();
        assert_eq!(seen.iter().sum::<usize>(), expected, "{seen:?}");
        assert!(seen.iter().all(|seen| *seen <= 1), "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_brings_the_next_at_once_and_a_fatal_one_the_end() {
    for (code, expected) in [(14, Ok("b".to_owned())), (5, Err(Code::NotFound))] {
        let network = Network::default();
        network.serve("a:1", move |exchange: Exchange| async move {
            refuse(exchange.reply, code, "no");
        });
        network.serve("b:1", named("b"));
        let target = hedged(&network, &["a:1", "b:1"], Hedging::after(DELAY)).await;
        let mut failed_first = 0;
        // Fewer failures than close the throttle.
        for _ in 0..4 {
            let start = Instant::now();
            let call = target.unary(&SAFE, String::new()).with_response();
            let result = call.await;
            assert_eq!(start.elapsed(), Duration::ZERO);
            let result = result.map(|response| {
                failed_first += usize::from(response.attempts().len() > 1);
                response.into_message()
            });
            match result {
                Ok(found) => assert_eq!(found, "b"),
                Err(status) => {
                    failed_first += 1;
                    assert_eq!(expected, Err(status.code()));
                }
            }
        }
        assert!(failed_first > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fatal_status_cancels_the_others() {
    let network = Network::default();
    let mut given_up = hangs(&network, "a:1");
    network.serve("b:1", |exchange: Exchange| async move {
        refuse(exchange.reply, 9, "no");
    });
    let target = hedged(&network, &["a:1", "b:1"], Hedging::after(DELAY)).await;
    for _ in 0..2 {
        let status = target.unary(&SAFE, String::new()).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
    }
    assert_eq!(given_up.recv().await, Some(Why::Reset(reset::CANCEL)));
}

#[tokio::test(start_paused = true)]
async fn hedges_keep_to_the_budget() {
    let network = Network::default();
    let a = slow(&network, "a:1", Duration::from_millis(50));
    let b = slow(&network, "b:1", Duration::from_millis(50));
    let target = hedged(&network, &["a:1", "b:1"], Hedging::after(DELAY)).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..2000 {
        calls.spawn(target.unary(&SAFE, String::new()));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    while let Some(result) = calls.join_next().await {
        result.unwrap().unwrap();
    }
    let attempts = a.get() + b.get();
    assert!((2400..=2500).contains(&attempts), "{attempts}");
    let options = ClientOptions::new().retry_budget(RetryBudget::new().ratio(0.0).per_second(0));
    let target = target.client().with(options).unwrap().target("echo");
    target.unary(&SAFE, String::new()).await.unwrap();
    assert_eq!(a.get() + b.get(), attempts + 1);
}

#[tokio::test(start_paused = true)]
async fn a_hedge_waits_for_the_budget() {
    let network = Network::default();
    let _given_up = hangs(&network, "a:1");
    network.serve("b:1", named("b"));
    let target = hedged(&network, &["a:1", "b:1"], Hedging::after(DELAY)).await;
    // At most one in ten, and nothing to begin with: as when everything stood still for a moment.
    let budget = RetryBudget::new().ratio(0.0).per_second(10);
    let options = ClientOptions::new().retry_budget(budget);
    let target = target.client().with(options).unwrap().target("echo");
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let call = target.unary(&SAFE, String::new());
        calls.spawn(call.timeout(Duration::from_secs(60)));
    }
    let mut answered = 0;
    while let Some(result) = calls.join_next().await {
        assert_eq!(result.unwrap().unwrap(), "b");
        answered += 1;
    }
    assert_eq!(answered, 300);
}

#[tokio::test(start_paused = true)]
async fn pushback_stops_hedges() {
    for (pushback, attempts, millis) in [("-1", 1, 0), ("300", 2, 300)] {
        let network = Network::default();
        let seen = Count::default();
        for node in ["a:1", "b:1", "c:1"] {
            let count = seen.clone();
            network.serve(node, move |exchange| {
                let first = count.add() == 0;
                async move {
                    if !first {
                        return reply(exchange.reply, "well");
                    }
                    let mut head = head();
                    head.fields.slot(Slot::GrpcStatus, FieldValue::Number(14));
                    let name = Bytes::from_static(b"grpc-retry-pushback-ms");
                    head.fields.text(name, FieldValue::Static(pushback));
                    let mut out = exchange.reply;
                    out.head(head, true).unwrap();
                }
            });
        }
        let target = hedged(&network, &["a:1", "b:1", "c:1"], Hedging::after(DELAY)).await;
        let start = Instant::now();
        let result = target.unary(&SAFE, String::new()).await;
        assert_eq!(result.is_ok(), attempts == 2, "{result:?}");
        assert_eq!(seen.get(), attempts);
        assert_eq!(start.elapsed(), Duration::from_millis(millis));
    }
}

#[tokio::test(start_paused = true)]
async fn a_percentile_hedges_the_slow_ones_alone() {
    let network = Network::default();
    let seen = Count::default();
    for node in ["a:1", "b:1"] {
        let count = seen.clone();
        network.serve(node, move |exchange| {
            // Every fiftieth takes long.
            let long = count.add() % 50 == 49;
            async move {
                tokio::time::sleep(Duration::from_millis(if long { 1000 } else { 10 })).await;
                reply(exchange.reply, "well");
            }
        });
    }
    let target = hedged(&network, &["a:1", "b:1"], Hedging::percentile(95.0)).await;
    let mut slowest = Duration::ZERO;
    for call in 0..1000 {
        let start = Instant::now();
        target.unary(&SAFE, String::new()).await.unwrap();
        if call >= 64 {
            slowest = slowest.max(start.elapsed());
        }
    }
    assert!(slowest <= Duration::from_millis(30), "{slowest:?}");
    let attempts = seen.get();
    assert!((1010..=1030).contains(&attempts), "{attempts}");
}

#[tokio::test(start_paused = true)]
async fn a_hedged_call_ends_at_its_deadline() {
    let network = Network::default();
    let mut given_up = hangs(&network, "a:1");
    let mut others = hangs(&network, "b:1");
    let target = hedged(&network, &["a:1", "b:1"], Hedging::after(DELAY)).await;
    let start = Instant::now();
    let call = target.unary(&SAFE, String::new());
    let status = call.timeout(Duration::from_millis(200)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("a:1") && status.message().contains("b:1"));
    assert_eq!(start.elapsed(), Duration::from_millis(200));
    assert_eq!(given_up.recv().await, Some(Why::Reset(reset::CANCEL)));
    assert_eq!(others.recv().await, Some(Why::Reset(reset::CANCEL)));
    // And one that is dropped gives all of its attempts up.
    let call = target.unary(&SAFE, String::new());
    let _ = tokio::time::timeout(Duration::from_millis(100), call).await;
    assert_eq!(given_up.recv().await, Some(Why::Reset(reset::CANCEL)));
    assert_eq!(others.recv().await, Some(Why::Reset(reset::CANCEL)));
}

#[tokio::test(start_paused = true)]
async fn nodes_without_a_connection_are_passed_over() {
    let network = Network::default();
    network.put("a:1", Site::Refuses);
    network.put("b:1", Site::Hangs);
    network.serve("c:1", named("c"));
    let target = hedged(&network, &["a:1", "b:1", "c:1"], Hedging::after(DELAY)).await;
    for _ in 0..6 {
        let start = Instant::now();
        assert_eq!(target.unary(&SAFE, String::new()).await.unwrap(), "c");
        assert!(start.elapsed() <= DELAY);
    }
    // A goodbye of the only node, and a loss that is repeated there.
    let network = Network::default();
    network.serve("a:1", named("a"));
    let target = hedged(&network, &["a:1"], Hedging::after(DELAY)).await;
    target.unary(&SAFE, String::new()).await.unwrap();
    network.drainers("a:1");
    assert_eq!(target.unary(&SAFE, String::new()).await.unwrap(), "a");
    let network = Network::default();
    let target = hedged(&network, &["a:1", "b:1"], Hedging::after(DELAY)).await;
    let status = target.unary(&SAFE, String::new()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("2 seen"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_single_node_is_gone_back_to_after_a_pause() {
    let network = Network::default();
    let seen = Count::default();
    let count = seen.clone();
    network.serve("a:1", move |exchange| {
        let first = count.add() == 0;
        async move {
            if first {
                refuse(exchange.reply, 14, "busy");
            } else {
                reply(exchange.reply, "a");
            }
        }
    });
    let target = hedged(&network, &["a:1"], Hedging::after(DELAY)).await;
    let start = Instant::now();
    assert_eq!(target.unary(&SAFE, String::new()).await.unwrap(), "a");
    assert!(start.elapsed() >= Duration::from_millis(80));
    assert_eq!(seen.get(), 2);
}
