//! The three kinds of streams.

use super::*;
use crate::Code;
use crate::exchange::reset;

on_every_engine! {
    a_server_stream_to_its_end
    a_stream_has_no_deadline_of_its_own
    the_deadline_of_a_stream_ends_it
    an_error_within_a_stream
    a_dropped_server_stream_is_cancelled
    a_client_stream_to_its_reply
    sending_to_a_call_that_is_over_gives_its_status
    a_reply_ahead_of_the_requests_end_is_kept_for_finish
    a_dropped_client_stream_is_no_upload
    a_slow_reader_slows_the_sender
    a_bidirectional_stream_in_turns
    the_sending_half_finds_the_status_behind_replies_that_nobody_read
    dropping_either_half_of_a_bidirectional_stream_cancels_both
    the_deadline_of_a_bidirectional_stream_ends_both_halves
    a_connection_that_is_lost_ends_its_streams
    headers_and_trailers_of_a_bidirectional_stream
}

async fn a_server_stream_to_its_end(engine: Engine) {
    let (target, _drainer) = target_on(engine, |exchange| async move {
        let mut requests = reader(exchange.body);
        assert_eq!(read(&mut requests).await.unwrap(), "3");
        assert_eq!(read(&mut requests).await, None, "the request has ended");
        let mut out = exchange.reply;
        let mut head = head();
        head.fields.text("x-head".into(), FieldValue::Static("h"));
        out.head(head, false).unwrap();
        for text in ["1", "2", "3"] {
            out.data(framed(text), false).unwrap();
        }
        let mut trailers = status(0, "");
        trailers.text("x-tail".into(), FieldValue::Static("t"));
        out.trailers(trailers).unwrap();
    })
    .await;
    let mut numbers = target.server_streaming(&COUNT, "3".into()).await.unwrap();
    assert_eq!(numbers.headers().await.unwrap().get("x-head"), Some("h"));
    let mut found = Vec::new();
    while let Some(number) = numbers.recv().await.unwrap() {
        assert!(numbers.trailers().is_none());
        found.push(number);
    }
    assert_eq!(found, ["1", "2", "3"]);
    assert_eq!(numbers.trailers().unwrap().get("x-tail"), Some("t"));
    assert_eq!(numbers.headers().await.unwrap().get("x-head"), Some("h"));
    assert_eq!(numbers.recv().await.unwrap(), None);
}

async fn a_stream_has_no_deadline_of_its_own(engine: Engine) {
    let (target, _drainer) = target_on(engine, |exchange| async move {
        assert_eq!(exchange.head.get(Slot::Timeout), None);
        assert_eq!(exchange.head.get(Slot::GrpcTimeout), None);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        reply(exchange.reply, "late");
    })
    .await;
    let mut numbers = target
        .server_streaming(&COUNT, String::new())
        .await
        .unwrap();
    assert_eq!(numbers.recv().await.unwrap().as_deref(), Some("late"));
    assert_eq!(numbers.recv().await.unwrap(), None);
}

async fn the_deadline_of_a_stream_ends_it(engine: Engine) {
    let (sender, mut codes) = line();
    let (target, _drainer) = target_on(engine, move |exchange| {
        let sender = sender.clone();
        async move {
            assert_eq!(exchange.head.get_str(Slot::Timeout), Some("1000000000"));
            let mut out = exchange.reply;
            out.head(head(), false).unwrap();
            out.data(framed("1"), false).unwrap();
            sender.send(cancelled(out).await).unwrap();
        }
    })
    .await;
    let call = target.server_streaming(&COUNT, String::new());
    let mut numbers = call.timeout(Duration::from_secs(1)).await.unwrap();
    assert_eq!(numbers.recv().await.unwrap().as_deref(), Some("1"));
    let status = numbers.recv().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(codes.recv().await, Some(Why::Reset(reset::CANCEL)));
    assert_eq!(numbers.recv().await.unwrap(), None, "nothing comes after");
}

async fn an_error_within_a_stream(engine: Engine) {
    let (target, _drainer) = target_on(engine, |exchange| async move {
        let mut out = exchange.reply;
        out.head(head(), false).unwrap();
        out.data(framed("1"), false).unwrap();
        out.trailers(status(9, "not now")).unwrap();
    })
    .await;
    let mut numbers = target
        .server_streaming(&COUNT, String::new())
        .await
        .unwrap();
    assert_eq!(numbers.recv().await.unwrap().as_deref(), Some("1"));
    let error = numbers.recv().await.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::FailedPrecondition, "not now")
    );
}

async fn a_dropped_server_stream_is_cancelled(engine: Engine) {
    let (sender, mut codes) = line();
    let (target, _drainer) = target_on(engine, move |exchange| {
        let sender = sender.clone();
        async move { sender.send(cancelled(exchange.reply).await).unwrap() }
    })
    .await;
    drop(
        target
            .server_streaming(&COUNT, String::new())
            .await
            .unwrap(),
    );
    assert_eq!(codes.recv().await, Some(Why::Reset(reset::CANCEL)));
}

async fn a_client_stream_to_its_reply(engine: Engine) {
    let (target, _drainer) = target_on(engine, |exchange| async move {
        let mut requests = reader(exchange.body);
        let mut all = Vec::new();
        while let Some(text) = read(&mut requests).await {
            all.push(text);
        }
        reply(exchange.reply, &all.join(" "));
    })
    .await;
    let mut names = target.client_streaming(&COLLECT).await.unwrap();
    names.send("a".into()).await.unwrap();
    names.send("b".into()).await.unwrap();
    assert_eq!(names.finish().await.unwrap(), "a b");
}

async fn sending_to_a_call_that_is_over_gives_its_status(engine: Engine) {
    let (target, _drainer) = target_on(engine, |exchange| async move {
        refuse(exchange.reply, 7, "not you");
    })
    .await;
    let mut names = target.client_streaming(&COLLECT).await.unwrap();
    let status = loop {
        if let Err(status) = names.send("a".into()).await {
            break status;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(
        (status.code(), status.message()),
        (Code::PermissionDenied, "not you")
    );
    let status = names.finish().await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::PermissionDenied, "not you")
    );
}

async fn a_reply_ahead_of_the_requests_end_is_kept_for_finish(engine: Engine) {
    let (target, _drainer) = target_on(engine, |exchange| async move {
        let text = read(&mut reader(exchange.body)).await.unwrap();
        reply(exchange.reply, &text);
    })
    .await;
    let mut names = target.client_streaming(&COLLECT).await.unwrap();
    let status = loop {
        if let Err(status) = names.send("a".into()).await {
            break status;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(status.code(), Code::Cancelled);
    assert!(status.message().contains("has answered"), "{status}");
    assert_eq!(names.finish().await.unwrap(), "a");
}

async fn a_dropped_client_stream_is_no_upload(engine: Engine) {
    let (sender, mut codes) = line();
    let (target, _drainer) = target_on(engine, move |exchange| {
        let sender = sender.clone();
        async move { sender.send(cancelled(exchange.reply).await).unwrap() }
    })
    .await;
    let mut names = target.client_streaming(&COLLECT).await.unwrap();
    names.send("a".into()).await.unwrap();
    drop(names);
    assert_eq!(codes.recv().await, Some(Why::Reset(reset::CANCEL)));
    // Also while the reply is waited for.
    let names = target.client_streaming(&COLLECT).await.unwrap();
    let finish = tokio::time::timeout(Duration::from_secs(1), names.finish());
    assert!(finish.await.is_err());
    assert_eq!(codes.recv().await, Some(Why::Reset(reset::CANCEL)));
}

async fn a_slow_reader_slows_the_sender(engine: Engine) {
    let (target, _drainer) = target_on(engine, |exchange| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let mut requests = reader(exchange.body);
        let mut count = 0;
        while read(&mut requests).await.is_some() {
            count += 1;
        }
        reply(exchange.reply, &count.to_string());
    })
    .await;
    let mut names = target.client_streaming(&COLLECT).await.unwrap();
    let start = tokio::time::Instant::now();
    for _ in 0..32 {
        names.send("x".repeat(64 * 1024)).await.unwrap();
    }
    assert!(start.elapsed() >= Duration::from_secs(60));
    assert_eq!(names.finish().await.unwrap(), "32");
}

async fn a_bidirectional_stream_in_turns(engine: Engine) {
    let (target, _drainer) = target_on(engine, |exchange| async move {
        let mut out = exchange.reply;
        out.head(head(), false).unwrap();
        let mut requests = reader(exchange.body);
        while let Some(text) = read(&mut requests).await {
            out.data(framed(&format!("{text}!")), false).unwrap();
        }
        out.trailers(status(0, "")).unwrap();
    })
    .await;
    let (mut names, mut replies) = target.bidi(&CHAT).await.unwrap();
    for text in ["a", "b"] {
        names.send(text.into()).await.unwrap();
        let expected = format!("{text}!");
        assert_eq!(replies.recv().await.unwrap(), Some(expected));
    }
    names.finish().await.unwrap();
    assert_eq!(replies.recv().await.unwrap(), None);
    assert!(replies.trailers().is_some());
}

async fn the_sending_half_finds_the_status_behind_replies_that_nobody_read(engine: Engine) {
    let (target, _drainer) = target_on(engine, |exchange| async move {
        let mut out = exchange.reply;
        out.head(head(), false).unwrap();
        out.data(framed("1"), false).unwrap();
        out.data(framed("2"), false).unwrap();
        out.trailers(status(9, "enough")).unwrap();
    })
    .await;
    let (mut names, mut replies) = target.bidi(&CHAT).await.unwrap();
    let status = loop {
        if let Err(status) = names.send("a".into()).await {
            break status;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(
        (status.code(), status.message()),
        (Code::FailedPrecondition, "enough")
    );
    // Nothing is lost for the other half.
    assert_eq!(replies.recv().await.unwrap().as_deref(), Some("1"));
    assert_eq!(replies.recv().await.unwrap().as_deref(), Some("2"));
    assert_eq!(replies.recv().await.unwrap_err().message(), "enough");
}

async fn dropping_either_half_of_a_bidirectional_stream_cancels_both(engine: Engine) {
    let (sender, mut codes) = line();
    let (target, _drainer) = target_on(engine, move |exchange| {
        let sender = sender.clone();
        async move {
            // Held, so that the window fills.
            let _requests = exchange.body;
            sender.send(cancelled(exchange.reply).await).unwrap();
        }
    })
    .await;
    let (names, mut replies) = target.bidi(&CHAT).await.unwrap();
    let waiting = tokio::spawn(async move { replies.recv().await });
    tokio::task::yield_now().await;
    drop(names);
    let status = waiting.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Cancelled);
    assert!(status.message().contains("sending half"), "{status}");
    assert_eq!(codes.recv().await, Some(Why::Reset(reset::CANCEL)));

    let (mut names, replies) = target.bidi(&CHAT).await.unwrap();
    // It fills the window, so that it waits.
    let waiting = tokio::spawn(async move {
        loop {
            if let Err(status) = names.send("x".repeat(1 << 16)).await {
                return status;
            }
        }
    });
    tokio::task::yield_now().await;
    drop(replies);
    let status = waiting.await.unwrap();
    assert_eq!(status.code(), Code::Cancelled);
    assert!(status.message().contains("receiving half"), "{status}");
    assert_eq!(codes.recv().await, Some(Why::Reset(reset::CANCEL)));
}

async fn the_deadline_of_a_bidirectional_stream_ends_both_halves(engine: Engine) {
    let (target, _drainer) = target_on(engine, |exchange| async move {
        cancelled(exchange.reply).await;
    })
    .await;
    let call = target.bidi(&CHAT).timeout(Duration::from_secs(1));
    let (mut names, mut replies) = call.await.unwrap();
    let status = replies.recv().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let status = names.send("a".into()).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

async fn a_connection_that_is_lost_ends_its_streams(engine: Engine) {
    let (target, drainer) = target_on(engine, |exchange| async move {
        let mut out = exchange.reply;
        out.head(head(), false).unwrap();
        out.data(framed("1"), false).unwrap();
        cancelled(out).await;
    })
    .await;
    let (mut names, mut replies) = target.bidi(&CHAT).await.unwrap();
    assert_eq!(replies.recv().await.unwrap().as_deref(), Some("1"));
    drop(drainer);
    let status = replies.recv().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let status = names.send("a".into()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

async fn headers_and_trailers_of_a_bidirectional_stream(engine: Engine) {
    let (target, _drainer) = target_on(engine, |exchange| async move {
        let mut requests = reader(exchange.body);
        let mut out = exchange.reply;
        let mut head = head();
        head.fields.text("x-head".into(), FieldValue::Static("h"));
        // With the first message, as go-micro's servers do.
        let text = read(&mut requests).await.unwrap();
        out.head(head, false).unwrap();
        out.data(framed(&text), false).unwrap();
        let mut trailers = status(10, "changed my mind");
        trailers.text("x-tail".into(), FieldValue::Static("t"));
        out.trailers(trailers).unwrap();
    })
    .await;
    let (mut names, mut replies) = target.bidi(&CHAT).await.unwrap();
    let waits = tokio::time::timeout(Duration::from_secs(60), replies.headers());
    assert!(
        waits.await.is_err(),
        "nothing was sent that could be answered"
    );
    names.send("a".into()).await.unwrap();
    assert_eq!(replies.headers().await.unwrap().get("x-head"), Some("h"));
    assert_eq!(replies.recv().await.unwrap().as_deref(), Some("a"));
    assert!(replies.trailers().is_none());
    let status = replies.recv().await.unwrap_err();
    assert_eq!(status.message(), "changed my mind");
    assert_eq!(status.metadata().get("x-tail"), Some("t"));
    assert_eq!(replies.trailers().unwrap().get("x-tail"), Some("t"));
    assert_eq!(replies.headers().await.unwrap().get("x-head"), Some("h"));
}

/// Chooses the first node, and panics when it is asked for a call that has been somewhere.
struct Panics;

impl crate::selector::Strategy for Panics {
    fn pick(
        &self,
        _: &crate::selector::Nodes<'_>,
        call: &crate::selector::CallInfo<'_>,
    ) -> Option<usize> {
        assert!(call.tried() == 0, "the strategy panics");
        Some(0)
    }
}

#[tokio::test(start_paused = true)]
async fn a_strategy_that_panics_behind_a_bidirectional_stream_ends_it() {
    let network = Network::default();
    for address in ["a:1", "b:1"] {
        network.serve(address, |exchange: Exchange| async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            exchange.reply.reset(reset::REFUSED_STREAM);
        });
    }
    let registry = registry(&["a:1", "b:1"]).await;
    let client = Client::new(
        Arc::new(registry),
        Arc::new(Panics),
        Arc::new(network),
        ClientOptions::new(),
    );
    let target = client.unwrap().target("echo");
    let (mut requests, mut replies) = target.bidi(&CHAT).await.unwrap();
    let receiving = tokio::time::timeout(Duration::from_secs(60), replies.recv());
    let status = receiving.await.expect("it ends").unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
    let status = requests.send(String::new()).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
}
