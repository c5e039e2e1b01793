//! Unary calls: what goes out, what comes back, deadlines, cancellation, what is inherited.

use super::*;
use crate::exchange::{Head, reset};
use crate::interceptor::{self, Invocation, Next, Outcome};
use crate::{Code, Context, Deadline, Metadata, Status};

#[tokio::test(start_paused = true)]
async fn a_reply_comes_with_all_that_came_with_it() {
    let (target, _drainer) = target(|exchange| async move {
        let mut requests = reader(exchange.body);
        let text = read(&mut requests).await.unwrap();
        assert_eq!(read(&mut requests).await, None, "the request has ended");
        let mut out = exchange.reply;
        let mut head = head();
        head.fields
            .text("x-head".into(), FieldValue::Static("first"));
        out.head(head, false).unwrap();
        out.data(framed(&format!("Hello {text}")), false).unwrap();
        let mut trailers = status(0, "");
        trailers.text("x-tail".into(), FieldValue::Static("last"));
        out.trailers(trailers).unwrap();
    })
    .await;
    let reply = target.unary(&ECHO, "World".into()).await.unwrap();
    assert_eq!(reply, "Hello World");
    let call = target.unary(&ECHO, "World".into());
    let response = call.with_response().await.unwrap();
    assert_eq!(response.message(), "Hello World");
    assert_eq!(response.headers().get("x-head"), Some("first"));
    assert_eq!(response.trailers().get("x-tail"), Some("last"));
    assert_eq!(response.node().unwrap().address, "local");
    assert_eq!(response.attempts().len(), 1);
}

async fn sent(
    change: impl FnOnce(&Target) -> super::super::Call<String, String, super::super::Unary>,
) -> Head {
    let (sender, mut heads) = line();
    let (target, _drainer) = target(move |exchange| {
        sender.send(exchange.head.clone()).unwrap();
        async move { reply(exchange.reply, "") }
    })
    .await;
    change(&target).await.unwrap();
    heads.recv().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_head_is_gomicros_and_grpcs() {
    let head = sent(|target| target.unary(&ECHO, String::new())).await;
    assert_eq!(head.path(), "/test.Echo/Say");
    assert_eq!(head.authority(), "local");
    assert_eq!(head.get_str(Slot::ContentType), Some("application/grpc"));
    assert_eq!(head.get_str(Slot::Te), Some("trailers"));
    assert!(
        head.get_str(Slot::UserAgent)
            .unwrap()
            .starts_with("grpc-rust-micro/")
    );
    assert_eq!(head.get_str(Slot::GrpcTimeout), Some("5000000u"));
    assert_eq!(head.get_str(Slot::Timeout), Some("5000000000"));
    assert_eq!(head.get(Slot::XContentType), None);
    assert_eq!(head.rest().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn options_of_a_call_and_of_a_client_reach_the_wire() {
    let head = sent(|target| {
        let call = target.unary(&ECHO, String::new());
        call.timeout(Duration::from_millis(70))
            .metadata("X-User", "7")
    })
    .await;
    assert_eq!(head.get_str(Slot::GrpcTimeout), Some("70000000n"));
    assert_eq!(head.get_str(Slot::Timeout), Some("70000000"));
    assert_eq!(head.rest().collect::<Vec<_>>(), [("x-user", &b"7"[..])]);

    let head = sent(|target| {
        let options = ClientOptions::new()
            .timeout(None)
            .content_type("application/grpc+proto")
            .metadata("micro-from-service", "tests")
            .metadata("x-user", "8")
            .proxy("gateway");
        let client = target.client().with(options).unwrap();
        client
            .target("shop")
            .unary(&ECHO, String::new())
            .metadata("x-user", "7")
    })
    .await;
    assert_eq!(head.path(), "/shop.Echo/Say");
    assert_eq!(head.get(Slot::GrpcTimeout), None);
    assert_eq!(head.get(Slot::Timeout), None);
    assert_eq!(
        head.get_str(Slot::ContentType),
        Some("application/grpc+proto")
    );
    let expected = [("x-user", &b"7"[..]), ("micro-from-service", b"tests")];
    assert_eq!(head.rest().collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn metadata_that_cannot_be_sent_fails_the_call_before_it_is_sent() {
    let (target, _drainer) = target(|_| async { panic!("nothing is sent") }).await;
    let call = target
        .unary(&ECHO, String::new())
        .metadata("grpc-status", "0");
    let status = call.await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(status.message().contains("grpc-status"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_the_call_here_and_there() {
    let (sender, mut codes) = line();
    let (target, _drainer) = target(move |exchange| {
        let sender = sender.clone();
        async move { sender.send(cancelled(exchange.reply).await).unwrap() }
    })
    .await;
    let start = tokio::time::Instant::now();
    let status = target.unary(&ECHO, String::new()).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("node local"), "{status}");
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    assert_eq!(codes.recv().await, Some(Why::Reset(reset::CANCEL)));
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_after_the_deadline_is_the_deadlines() {
    let (target, _drainer) = target(|exchange| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        refuse(exchange.reply, 1, "gone");
    })
    .await;
    let status = |timeout| {
        let call = target.unary(&ECHO, String::new());
        async move { call.timeout(timeout).await.unwrap_err().code() }
    };
    assert_eq!(status(Duration::from_millis(200)).await, Code::Cancelled);
    assert_eq!(
        status(Duration::from_millis(100)).await,
        Code::DeadlineExceeded
    );
}

fn context(deadline: Option<Deadline>, pairs: &[(&'static str, &'static str)]) -> Context {
    let mut head = Head::request(crate::exchange::Verb::Post, "/a", "", 64);
    for (name, value) in pairs {
        head.field(name, value.as_bytes());
    }
    let info = ConnInfo::new(PeerAddr::Local, PeerAddr::Local);
    Context::of_request(head.build(), deadline, Arc::new(info))
}

#[tokio::test(start_paused = true)]
async fn an_inherited_deadline_is_shortened_never_extended() {
    let within = |left, timeout| async move {
        let context = context(Some(Deadline::after(Duration::from_millis(left))), &[]);
        let head = sent(|target| {
            let call = target.unary(&ECHO, String::new()).context(&context);
            call.timeout(Duration::from_millis(timeout))
        });
        head.await.get_str(Slot::Timeout).unwrap().to_owned()
    };
    assert_eq!(within(50, 80).await, "50000000");
    assert_eq!(within(80, 50).await, "50000000");
}

#[tokio::test(start_paused = true)]
async fn a_call_made_in_a_handler_inherits_wherever_it_is_awaited() {
    let pairs = [
        ("x-user", "7"),
        ("authorization", "Bearer s"),
        ("cookie", "c"),
    ];
    let context = context(None, &pairs);
    let (sender, mut heads) = line();
    let (target, _drainer) = target(move |exchange| {
        sender.send(exchange.head.clone()).unwrap();
        async move { reply(exchange.reply, "") }
    })
    .await;
    let mut calls = tokio::task::JoinSet::new();
    context
        .scope(async {
            let call = target.unary(&ECHO, String::new());
            calls.spawn(call.forward(["authorization"]));
        })
        .await;
    calls.join_next().await.unwrap().unwrap().unwrap();
    let head = heads.recv().await.unwrap();
    let expected = [("x-user", &b"7"[..]), ("authorization", b"Bearer s")];
    assert_eq!(head.rest().collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_context_cancels_the_calls_made_for_it() {
    let (sender, mut codes) = line();
    let (target, _drainer) = target(move |exchange| {
        let sender = sender.clone();
        async move {
            sender.send(None).unwrap();
            sender.send(Some(cancelled(exchange.reply).await)).unwrap();
        }
    })
    .await;
    let context = context(None, &[]);
    let call = target.unary(&ECHO, String::new()).context(&context);
    let call = tokio::spawn(call);
    assert_eq!(codes.recv().await, Some(None));
    context.cancel();
    let status = call.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Cancelled);
    assert_eq!(codes.recv().await, Some(Some(Why::Reset(reset::CANCEL))));
    // One that is made afterwards does not begin.
    let late = target.unary(&ECHO, String::new()).context(&context);
    assert_eq!(late.await.unwrap_err().code(), Code::Cancelled);
    assert!(codes.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_is_cancelled() {
    let (sender, mut codes) = line();
    let (target, _drainer) = target(move |exchange| {
        let sender = sender.clone();
        async move {
            sender.send(None).unwrap();
            sender.send(Some(cancelled(exchange.reply).await)).unwrap();
        }
    })
    .await;
    let call = tokio::spawn(target.unary(&ECHO, String::new()));
    assert_eq!(codes.recv().await, Some(None));
    call.abort();
    assert_eq!(codes.recv().await, Some(Some(Why::Reset(reset::CANCEL))));
}

#[tokio::test(start_paused = true)]
async fn a_status_comes_whole() {
    let (target, _drainer) = target(|exchange| async move {
        let mut out = exchange.reply;
        let mut head = head();
        head.fields.slot(Slot::GrpcStatus, FieldValue::Number(2));
        let json = r#"{"id":"shop","code":418,"detail":"short and stout","status":"I'm a teapot"}"#;
        head.fields
            .slot(Slot::GrpcMessage, FieldValue::Static(json));
        head.fields.text("x-why".into(), FieldValue::Static("tea"));
        out.head(head, true).unwrap();
    })
    .await;
    let status = target.unary(&ECHO, String::new()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unknown);
    assert_eq!(status.message(), "short and stout");
    assert_eq!((status.id(), status.micro_code()), ("shop", 418));
    assert_eq!(status.metadata().get("x-why"), Some("tea"));
}

#[tokio::test(start_paused = true)]
async fn interceptors_see_and_change_the_call() {
    let (sender, mut heads) = line();
    let (target, _drainer) = target(move |exchange| {
        sender.send(exchange.head.clone()).unwrap();
        async move {
            let text = read(&mut reader(exchange.body)).await.unwrap();
            reply(exchange.reply, &text);
        }
    })
    .await;
    let change = interceptor::from_fn(|mut call: Invocation, next: Next| async move {
        assert_eq!((call.service(), call.path()), ("echo", "/test.Echo/Say"));
        call.metadata_mut().insert("x-by", "interceptor");
        call.message_mut::<String>().unwrap().push('!');
        let mut outcome = next.run(call).await?;
        outcome.message_mut::<String>().unwrap().push('?');
        Ok(outcome)
    });
    let client = target
        .client()
        .with(ClientOptions::new().interceptor(change));
    let target = client.unwrap().target("echo");
    let call = target.unary(&ECHO, "Hi".into()).with_response();
    let response = call.await.unwrap();
    assert_eq!(response.message(), "Hi!?");
    assert_eq!(response.attempts().len(), 1);
    let head = heads.recv().await.unwrap();
    assert_eq!(head.rest().next(), Some(("x-by", &b"interceptor"[..])));
}

#[tokio::test(start_paused = true)]
async fn an_interceptor_may_answer_refuse_or_hang() {
    let (target, _drainer) = target(|_| async { panic!("nothing is sent") }).await;
    let with = |interceptor: fn(Invocation) -> BoxFuture<'static, crate::Result<Outcome>>| {
        let interceptor = interceptor::from_fn(move |call: Invocation, _: Next| interceptor(call));
        let options = ClientOptions::new().interceptor(interceptor);
        let client = target.client().with(options).unwrap();
        client.target("echo").unary(&ECHO, String::new())
    };
    let answers = with(|_| Box::pin(async { Ok(Outcome::reply("mine".to_owned())) }));
    assert_eq!(answers.await.unwrap(), "mine");
    let refuses = with(|_| Box::pin(async { Err(Status::aborted("no")) }));
    assert_eq!(refuses.await.unwrap_err().code(), Code::Aborted);
    let errs = with(|_| Box::pin(async { Ok(Outcome::reply(7u8)) }));
    assert_eq!(errs.await.unwrap_err().code(), Code::Internal);
    let hangs = with(|_| Box::pin(std::future::pending()));
    assert_eq!(hangs.await.unwrap_err().code(), Code::DeadlineExceeded);
}

#[test]
fn a_call_is_send_unpin_and_static() {
    fn holds<T: Send + Unpin + 'static>(_: &T) {}
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let client = Client::new(
        Arc::new(Memory::new()),
        Arc::new(RoundRobin),
        Arc::new(Network::default()),
        ClientOptions::new(),
    )
    .unwrap();
    let target = client.target("echo");
    holds(&target.unary(&ECHO, String::new()));
    holds(&target.unary(&ECHO, String::new()).with_response());
    holds(&target.server_streaming(&COUNT, String::new()));
    holds(&target.client_streaming(&COLLECT));
    holds(&target.bidi(&CHAT));
    assert!(size_of::<Target>() <= size_of::<usize>());
    let _ = (runtime, Metadata::new());
}
