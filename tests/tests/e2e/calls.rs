//! Calls of every kind, over everything that carries them.

use std::sync::{Arc, Mutex};

use micro_runtime::client::ClientOptions;
use micro_runtime::interceptor::{self, Invocation, Next, Outcome};
use micro_runtime::prost_types::Any;
use micro_runtime::registry::{Fixed, Memory, Registry};
use micro_runtime::server::ServerOptions;
use micro_runtime::{Client, Code, Status, testing};
use micro_tests::front::v1::{Answer, Question, new_front_service};
use micro_tests::front::{self, answer, question};
use micro_tests::peer::v1::{Fault, PeerService, Req, new_peer_service, register_peer_handler};
use micro_tests::peer::{Peer, echo, full_request};

use crate::support::{client, eventually, in_time, peer_over_tcp, serve_peer, service, unique};

fn named(name: &str) -> Req {
    Req {
        name: name.to_owned(),
        ..Req::default()
    }
}

fn counting(count: i64) -> Req {
    Req {
        count,
        ..Req::default()
    }
}

fn failing(count: i64) -> Req {
    Req {
        fault: Some(Fault {
            code: 418,
            id: "tea.pot".to_owned(),
            detail: "short and stout".to_owned(),
        }),
        ..counting(count)
    }
}

fn is_teapot(status: &Status) {
    assert_eq!(status.micro_code(), 418);
    assert_eq!(status.id(), "tea.pot");
    assert_eq!(status.message(), "short and stout");
}

/// One call of each kind, to its end and to an error.
async fn every_kind(peer: &PeerService) {
    let request = full_request();
    let reply = peer.unary(request.clone()).await.unwrap();
    assert_eq!(reply, echo(request));
    is_teapot(&peer.fail(failing(0)).await.unwrap_err());

    let mut numbers = peer.count(counting(3)).await.unwrap();
    for number in 0..3 {
        assert_eq!(numbers.recv().await.unwrap().unwrap().count, number);
    }
    assert!(numbers.recv().await.unwrap().is_none());
    assert!(numbers.trailers().is_some());

    let mut numbers = peer.failing_count(failing(2)).await.unwrap();
    assert_eq!(numbers.recv().await.unwrap().unwrap().count, 0);
    assert_eq!(numbers.recv().await.unwrap().unwrap().count, 1);
    is_teapot(&numbers.recv().await.unwrap_err());
    assert!(numbers.recv().await.unwrap().is_none());

    let mut names = peer.collect().await.unwrap();
    for name in ["a", "b", "c"] {
        names.send(named(name)).await.unwrap();
    }
    let reply = names.finish().await.unwrap();
    assert_eq!((reply.count, reply.msg.as_str()), (3, "a,b,c"));
    let reply = peer.collect().await.unwrap().finish().await.unwrap();
    assert_eq!(reply.count, 0);

    let (mut names, mut replies) = peer.chat().await.unwrap();
    for name in ["a", "b"] {
        names.send(named(name)).await.unwrap();
        let reply = replies.recv().await.unwrap().unwrap();
        assert_eq!(reply.msg, format!("Hello {name}"));
    }
    names.finish().await.unwrap();
    assert!(replies.recv().await.unwrap().is_none());
}

/// The same with each content type.
async fn every_encoding(name: &str, client: &Client) {
    for content_type in [
        "application/grpc",
        "application/grpc+proto",
        "application/json",
    ] {
        let options = ClientOptions::new().content_type(content_type);
        let client = client.with(options).unwrap();
        in_time(every_kind(&new_peer_service(name, &client))).await;
    }
}

#[tokio::test]
async fn every_kind_in_process() {
    let (server, client) = testing::pair();
    register_peer_handler(&server, Peer::default()).unwrap();
    every_encoding("anything", &client).await;
}

#[tokio::test]
async fn every_kind_over_tcp() {
    let (registry, name) = (Memory::new(), unique("kinds"));
    let _running = serve_peer(service(&name, &registry)).await;
    every_encoding(&name, &client(&registry)).await;
}

#[tokio::test]
async fn every_kind_at_a_fixed_address() {
    let running = serve_peer(service("anything", &Memory::new())).await;
    every_encoding("whatever", &client(&Fixed::new([running.address()]))).await;
}

#[cfg(unix)]
#[tokio::test]
async fn every_kind_over_a_unix_socket() {
    let (registry, name) = (Memory::new(), unique("unix"));
    let path = std::env::temp_dir().join(format!("{name}.sock"));
    let address = format!("unix:{}", path.display());
    let running = serve_peer(service(&name, &registry).address(&address)).await;
    assert_eq!(running.address(), address);
    let services = registry.get(&name).await.unwrap();
    assert_eq!(services[0].nodes[0].address, address);
    every_encoding(&name, &client(&registry)).await;
    running.stop().await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn metadata_goes_both_ways() {
    let (running, peer) = peer_over_tcp().await;
    let response = peer
        .headers(Req::default())
        .metadata("x-one", "1")
        .metadata("x-many", "a")
        .metadata("x-many", "b")
        .metadata_bin("x-raw-bin", vec![0, 255, 16])
        .with_response()
        .await
        .unwrap();
    let meta = &response.message().meta;
    assert_eq!(meta["x-one"], "1");
    assert_eq!(meta["x-many"], "a, b");
    assert_eq!(meta["x-raw-bin"], "00ff10");

    let headers: Vec<_> = response.headers().get_all("x-peer-header").collect();
    assert_eq!(headers, ["one", "two"]);
    assert_eq!(response.trailers().get("x-peer-trailer"), Some("end"));
    assert_eq!(response.node().unwrap().address, running.address());
    assert_eq!(response.attempts().len(), 1);

    // What cannot be sent fails here, and names the culprit.
    let status = peer.headers(Req::default()).metadata("x bad", "1").await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(status.message().contains("x bad"), "{status}");
}

fn detail() -> Any {
    Any {
        type_url: "type.googleapis.com/e2e.v1.Question".to_owned(),
        value: vec![10, 1, b'q'],
    }
}

#[tokio::test]
async fn an_error_keeps_everything_over_a_hop() {
    let refusing = |server: &micro_runtime::Server| {
        front::register(server, |_, _| async {
            let mut status = Status::from_micro_code(418, "grün\n 100% \u{1f600}")
                .with_id("tea.pot")
                .with_detail(detail())
                .with_detail(detail());
            status.metadata_mut().insert("x-why", "because");
            Err(status)
        })
        .unwrap();
    };
    let (registry, name) = (Memory::new(), unique("error"));
    let remote = service(&name, &registry).build().unwrap();
    refusing(remote.server());
    let _running = remote.start().await.unwrap();
    let (server, local) = testing::pair();
    refusing(&server);
    for client in [local, client(&registry)] {
        let front = new_front_service(&name, &client);
        let status = in_time(front.ask(question("?"))).await.unwrap_err();
        assert_eq!(status.code(), Code::from_micro_code(418));
        assert_eq!(status.micro_code(), 418);
        assert_eq!(status.id(), "tea.pot");
        assert_eq!(status.message(), "grün\n 100% \u{1f600}");
        assert_eq!(status.details(), [detail(), detail()]);
        assert_eq!(status.metadata().get("x-why"), Some("because"));
    }
}

#[tokio::test]
async fn every_code_crosses_the_wire() {
    let (_running, peer) = peer_over_tcp().await;
    for number in 1..=16 {
        let fault = Fault {
            code: number,
            id: "an.id".to_owned(),
            detail: format!("code {number}"),
        };
        let request = Req {
            fault: Some(fault),
            ..Req::default()
        };
        let status = in_time(peer.fail(request)).await.unwrap_err();
        assert_eq!(status.code(), Code::from_number(number.into()));
        assert_eq!(status.message(), format!("code {number}"));
    }
}

#[tokio::test]
async fn calls_without_generated_code() {
    let (registry, name) = (Memory::new(), unique("named"));
    let _running = serve_peer(service(&name, &registry)).await;
    let client = client(&registry);
    // The package is known from the registry alone.
    let reply = client
        .request(&name, "Peer.Unary")
        .json(r#"{"name":"bob"}"#);
    let reply: serde_json::Value = serde_json::from_str(&in_time(reply).await.unwrap()).unwrap();
    assert_eq!(reply["msg"], "Hello bob");

    let (mut requests, mut replies) =
        in_time(client.request(&name, "/peer.v1.Peer/Chat").json_stream())
            .await
            .unwrap();
    requests.send(r#"{"name":"eve"}"#.to_owned()).await.unwrap();
    requests.finish().await.unwrap();
    let reply = replies.recv().await.unwrap().unwrap();
    assert!(reply.contains("Hello eve"), "{reply}");
    assert!(replies.recv().await.unwrap().is_none());

    let bytes = client.request(&name, "Peer.Unary");
    let bytes = bytes.bytes("application/protobuf", vec![10, 1, b'x']).await;
    let text = String::from_utf8_lossy(&bytes.unwrap()).into_owned();
    assert!(text.contains("Hello x"), "{text:?}");
}

type Seen = Arc<Mutex<Vec<String>>>;

/// Notes what it sees on the way in and out, and appends to texts on both.
fn noting(seen: &Seen, who: &'static str) -> impl interceptor::Interceptor + use<> {
    let seen = Arc::clone(seen);
    interceptor::from_fn(move |mut call: Invocation, next: Next| {
        let seen = Arc::clone(&seen);
        async move {
            let note = |what: &str| seen.lock().unwrap().push(format!("{who} {what}"));
            note(call.endpoint());
            call.metadata_mut().append("x-way", who);
            if let Some(question) = call.message_mut::<Question>() {
                question.text.push_str(who);
            }
            let mut outcome = next.run(call).await;
            match &mut outcome {
                Ok(outcome) => {
                    if let Some(answer) = outcome.message_mut::<Answer>() {
                        answer.text.push_str(who);
                    }
                    note("ok");
                }
                Err(status) => note(status.code().name()),
            }
            outcome
        }
    })
}

#[tokio::test]
async fn interceptors_stand_around_calls_on_both_sides() {
    let seen = Seen::default();
    let (registry, name) = (Memory::new(), unique("interceptors"));
    let guard = interceptor::from_fn(|call: Invocation, next: Next| async move {
        match call.message::<Question>() {
            Some(question) if question.text.starts_with("secret") => {
                Err(Status::permission_denied("not for you"))
            }
            Some(question) if question.text.starts_with("known") => {
                Ok(Outcome::reply(answer("cached")))
            }
            _ => next.run(call).await,
        }
    });
    let options = ServerOptions::new()
        .interceptor(noting(&seen, "C"))
        .interceptor(guard);
    let server = service(&name, &registry).server_options(options).build();
    let server = server.unwrap();
    front::register(server.server(), |ctx, question| async move {
        let way: Vec<_> = ctx.metadata().get_all("x-way").collect();
        Ok(answer(format!("{} {} ", question.text, way.join(","))))
    })
    .unwrap();
    register_peer_handler(server.server(), Peer::default()).unwrap();
    let _running = server.start().await.unwrap();
    let options = ClientOptions::new()
        .interceptor(noting(&seen, "A"))
        .interceptor(noting(&seen, "B"));
    let client = client(&registry).with(options).unwrap();
    let front = new_front_service(&name, &client);
    let taken = || std::mem::take(&mut *seen.lock().unwrap());

    let reply = in_time(front.ask(question("q"))).await.unwrap();
    // A handler's metadata is what came; what the server's interceptor added is the interceptors' own.
    assert_eq!(reply.text, "qABC A,B CBA");
    let all = [
        "A Front.Ask",
        "B Front.Ask",
        "C Front.Ask",
        "C ok",
        "B ok",
        "A ok",
    ];
    assert_eq!(taken(), all);

    let status = in_time(front.ask(question("secret"))).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(
        taken()[3..],
        [
            "C PERMISSION_DENIED",
            "B PERMISSION_DENIED",
            "A PERMISSION_DENIED"
        ]
    );

    let reply = in_time(front.ask(question("known"))).await.unwrap();
    assert_eq!(reply.text, "cachedCBA");
    taken();

    // Around a stream as well: on the client around its opening, on the server around all of it.
    let mut numbers = new_peer_service(&name, &client)
        .count(counting(2))
        .await
        .unwrap();
    while in_time(numbers.recv()).await.unwrap().is_some() {}
    eventually("the server's interceptor saw the end", || async {
        seen.lock().unwrap().iter().any(|seen| seen == "C ok")
    })
    .await;
    let (server, client): (Vec<_>, Vec<_>) =
        taken().into_iter().partition(|seen| seen.starts_with('C'));
    assert_eq!(client, ["A Peer.Count", "B Peer.Count", "B ok", "A ok"]);
    assert_eq!(server, ["C Peer.Count", "C ok"]);
}

#[tokio::test]
async fn a_panic_hurts_no_other_call() {
    let (_running, peer) = peer_over_tcp().await;
    let (mut names, mut replies) = peer.chat().await.unwrap();
    names.send(named("before")).await.unwrap();
    replies.recv().await.unwrap().unwrap();

    let status = in_time(peer.panic(named("oh dear"))).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);

    names.send(named("after")).await.unwrap();
    let reply = replies.recv().await.unwrap().unwrap();
    assert_eq!(reply.msg, "Hello after");
    peer.unary(named("x")).await.unwrap();
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_calls_go_on() {
    const LIMIT: i64 = 4 * 1024 * 1024;
    let (_running, peer) = peer_over_tcp().await;
    let sized = |length: i64| Req {
        payload: vec![7; usize::try_from(length).unwrap()],
        ..Req::default()
    };
    let (mut names, mut replies) = peer.chat().await.unwrap();

    let status = in_time(peer.unary(sized(LIMIT))).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("4194304"), "{status}");
    in_time(peer.unary(named("x"))).await.unwrap();

    let status = in_time(peer.large(counting(LIMIT))).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("4194304"), "{status}");

    // What just fits, fits; and the connection is the one of before.
    let reply = in_time(peer.large(counting(LIMIT - 8))).await.unwrap();
    assert_eq!(reply.payload.len(), 4 * 1024 * 1024 - 8);
    assert!(
        in_time(peer.unary(sized(LIMIT - 8))).await.is_err(),
        "the reply has a msg more"
    );
    names.send(named("still")).await.unwrap();
    in_time(replies.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn many_calls_at_once_on_one_connection() {
    let (_running, peer) = peer_over_tcp().await;
    let calls: Vec<_> = (0..300)
        .map(|number| tokio::spawn(peer.unary(counting(number))))
        .collect();
    for (number, call) in (0..).zip(calls) {
        assert_eq!(in_time(call).await.unwrap().unwrap().count, number);
    }
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let (registry, name) = (Memory::new(), unique("unknown"));
    let running = serve_peer(service(&name, &registry)).await;
    let client = client(&registry);

    let front = new_front_service(&name, &client);
    let status = in_time(front.ask(question("?"))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("e2e.v1.Front"), "{status}");

    let call = client.request(&name, "/peer.v1.Peer/Nothing").json("{}");
    let status = in_time(call).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("Nothing"), "{status}");

    let nobody = unique("nobody");
    let status = in_time(new_peer_service(&nobody, &client).unary(named("x")));
    let status = status.await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    for part in [nobody.as_str(), "memory"] {
        assert!(status.message().contains(part), "{status}");
    }

    // A server that has stopped.
    let peer = new_peer_service(&name, &client);
    peer.unary(named("x")).await.unwrap();
    let address = running.address();
    in_time(running.stop()).await.unwrap();
    let status = in_time(peer.unary(named("x"))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let status = in_time(peer.unary(named("x")).address(&address))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains(&address), "{status}");
}
