//! Which failures lead to another attempt, and which do not.

use super::nodes::named;
use super::*;
use crate::Code;
use crate::exchange::{DrainState, reset};

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
    // Each second turn is this node's, and the turn of the second attempt is the other's, until it has refused
    // five in a row.
    assert_eq!(refused.get(), 5);
    for _ in 0..2 {
        let mut numbers = target
            .server_streaming(&COUNT, String::new())
            .await
            .unwrap();
        assert_eq!(numbers.recv().await.unwrap().as_deref(), Some("b"));
    }
    assert_eq!(refused.get(), 5, "it is put aside");
}

#[tokio::test(start_paused = true)]
async fn a_refused_stream_goes_elsewhere_while_nothing_was_sent_on_it() {
    let network = Network::default();
    let (sender, mut refusals) = line();
    network.serve("a:1", move |exchange| {
        sender.send(()).unwrap();
        async move { exchange.reply.reset(reset::REFUSED_STREAM) }
    });
    network.serve("b:1", |exchange: Exchange| async move {
        let mut requests = reader(exchange.body);
        let mut all = Vec::new();
        while let Some(text) = read(&mut requests).await {
            all.push(text);
        }
        reply(exchange.reply, &all.join(" "));
    });
    let target = client(&network, &["a:1", "b:1"]).await.target("echo");
    let mut refused = 0;
    for _ in 0..4 {
        let mut names = target.client_streaming(&COLLECT).await.unwrap();
        // The refusal, if there is one, comes before anything is sent.
        tokio::time::sleep(Duration::from_millis(1)).await;
        refused += usize::from(refusals.try_recv().is_ok());
        names.send("a".into()).await.unwrap();
        names.send("b".into()).await.unwrap();
        assert_eq!(names.finish().await.unwrap(), "a b");

        let (mut names, mut replies) = target.bidi(&CHAT).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        refused += usize::from(refusals.try_recv().is_ok());
        names.send("a".into()).await.unwrap();
        names.finish().await.unwrap();
        assert_eq!(replies.recv().await.unwrap().as_deref(), Some("a"));
        assert_eq!(replies.recv().await.unwrap(), None);

        // Ended before the refusal, which the receiving half then finds.
        let (names, mut replies) = target.bidi(&CHAT).await.unwrap();
        names.finish().await.unwrap();
        assert_eq!(replies.recv().await.unwrap().as_deref(), Some(""));
        refused += usize::from(refusals.try_recv().is_ok());
        let names = target.client_streaming(&COLLECT).await.unwrap();
        assert_eq!(names.finish().await.unwrap(), "");
        refused += usize::from(refusals.try_recv().is_ok());
    }
    assert_eq!(refused, 5, "each kind of call, and then it is put aside");
}

#[tokio::test(start_paused = true)]
async fn a_refused_stream_is_over_once_something_was_sent_on_it() {
    let network = Network::default();
    let seen = Count::default();
    for address in ["a:1", "b:1"] {
        let count = seen.clone();
        network.serve(address, move |exchange| {
            count.add();
            async move {
                let mut requests = reader(exchange.body);
                read(&mut requests).await;
                exchange.reply.reset(reset::REFUSED_STREAM);
            }
        });
    }
    let target = client(&network, &["a:1", "b:1"]).await.target("echo");
    let mut names = target.client_streaming(&COLLECT).await.unwrap();
    names.send("a".into()).await.unwrap();
    let status = names.finish().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let (mut names, mut replies) = target.bidi(&CHAT).await.unwrap();
    names.send("a".into()).await.unwrap();
    let status = replies.recv().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(
        names.send("b".into()).await.unwrap_err().code(),
        Code::Unavailable
    );
    assert_eq!(seen.get(), 2);
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
    let client = client(&network, &["a:1", "b:1"]).await;
    // So many failures would close the throttle.
    let options = ClientOptions::new().retry_throttle(None);
    let target = client.with(options).unwrap().target("echo");
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
