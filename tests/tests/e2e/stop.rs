//! The life of a service: hooks, one start, an orderly stop under load.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use micro_runtime::registry::{Memory, Registry};
use micro_runtime::{Code, Error, ErrorKind, Service};
use micro_tests::front::v1::new_front_service;
use micro_tests::front::{self, question};
use micro_tests::peer::v1::{Req, new_peer_service};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};

use crate::support::{
    client, eventually, front_client, in_time, joined, serve_answer, serve_peer, service, unique,
};
use crate::wire::{
    CALL, END_HEADERS, GOAWAY, HEADERS, PING, PREFACE, SETTINGS, frame, frames, headers,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_when_one_of_two_nodes_stops() {
    let (registry, name) = (Memory::new(), unique("rolling"));
    let _staying = serve_answer(service(&name, &registry), "b").await;
    let front = front_client(&name, &registry);
    let over = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..16)
        .map(|_| {
            let (front, over) = (front.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                let mut calls = 0_usize;
                while !over.load(Ordering::Relaxed) {
                    // Not safe to repeat: whatever is lost shows.
                    front.ask(question("?")).await.unwrap();
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    for _ in 0..5 {
        let called = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&called);
        let going = service(&name, &registry).build().unwrap();
        front::register(going.server(), move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
            async {
                // Some calls are answered in their connection's task, some in their own.
                tokio::task::yield_now().await;
                Ok(front::answer("a"))
            }
        })
        .unwrap();
        let going = going.start().await.unwrap();
        eventually("the node is called", async || {
            called.load(Ordering::Relaxed) > 20
        })
        .await;
        in_time(going.stop()).await.unwrap();
        let before = called.load(Ordering::Relaxed);
        for _ in 0..50 {
            in_time(front.ask(question("?"))).await.unwrap();
        }
        assert_eq!(called.load(Ordering::Relaxed), before);
    }
    over.store(true, Ordering::Relaxed);
    for task in load {
        assert!(joined(task).await > 0);
    }
}

#[tokio::test]
async fn running_calls_and_streams_finish() {
    let (registry, name) = (Memory::new(), unique("finish"));
    let running = serve_peer(service(&name, &registry)).await;
    let peer = new_peer_service(&name, &client(&registry));
    let (mut requests, mut replies) = peer.chat().await.unwrap();
    let mut numbers = peer
        .count(Req {
            name: "numbers".to_owned(),
            count: 50,
            millis: 10,
            ..Req::default()
        })
        .await
        .unwrap();
    in_time(numbers.recv()).await.unwrap().unwrap();
    let sleeping = tokio::spawn(peer.sleep(Req {
        name: "sleeping".to_owned(),
        millis: 300,
        ..Req::default()
    }));
    let started = Req {
        name: "sleeping".to_owned(),
        tags: vec!["started".to_owned()],
        millis: 60_000,
        ..Req::default()
    };
    assert_eq!(
        in_time(peer.last_cancelled(started)).await.unwrap().msg,
        "running"
    );

    let address = running.address();
    let stopping = tokio::spawn(running.stop());
    eventually("it accepts no more connections", async || {
        TcpStream::connect(&address).await.is_err()
    })
    .await;
    assert!(registry.get(&name).await.unwrap().is_empty());
    for number in 1..50 {
        assert_eq!(
            in_time(numbers.recv()).await.unwrap().unwrap().count,
            number
        );
    }
    assert!(in_time(numbers.recv()).await.unwrap().is_none());
    joined(sleeping).await.unwrap();
    for name in ["a", "b"] {
        let request = Req {
            name: name.to_owned(),
            ..Req::default()
        };
        requests.send(request).await.unwrap();
        let reply = in_time(replies.recv()).await.unwrap().unwrap();
        assert_eq!(reply.msg, format!("Hello {name}"));
    }
    assert!(!stopping.is_finished());
    requests.finish().await.unwrap();
    assert!(in_time(replies.recv()).await.unwrap().is_none());
    joined(stopping).await.unwrap();
}

#[tokio::test]
async fn what_crosses_the_goodbye_is_not_answered_with_a_reset() {
    let running = serve_peer(service(&unique("crossing"), &Memory::new())).await;
    let mut stream = TcpStream::connect(running.address()).await.unwrap();
    let greeting = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    stream.write_all(&greeting).await.unwrap();
    let mut read = Vec::new();
    while !frames(&read).iter().any(|f| f.0 == SETTINGS && f.1 == 1) {
        assert!(in_time(stream.read_buf(&mut read)).await.unwrap() > 0);
    }
    let stopping = tokio::spawn(running.stop());
    // A goodbye with the highest number there is, and a PING; once that is answered, one with the real one.
    let mut answered = false;
    loop {
        let goodbyes = frames(&read).iter().filter(|f| f.0 == GOAWAY).count();
        if goodbyes == 2 {
            break;
        }
        let ping = frames(&read).into_iter().find(|f| f.0 == PING && f.1 == 0);
        if let (Some((.., payload)), false) = (ping, answered) {
            let pong = frame(PING, 1, 0, payload);
            stream.write_all(&pong).await.unwrap();
            answered = true;
        }
        assert!(in_time(stream.read_buf(&mut read)).await.unwrap() > 0);
    }
    // It has said that it takes no more, and takes what a peer sends that has not read that yet.
    assert_eq!(in_time(stream.read_buf(&mut read)).await.unwrap(), 0);
    for number in 0..10 {
        let call = frame(HEADERS, END_HEADERS, number * 2 + 1, &headers(CALL));
        stream.write_all(&call).await.unwrap();
        // A reset would need a moment to arrive.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!stopping.is_finished());
    drop(stream);
    joined(stopping).await.unwrap();
}

#[tokio::test]
async fn calls_that_do_not_finish_in_time_are_cut() {
    let (registry, name) = (Memory::new(), unique("cut"));
    let grace = Duration::from_millis(200);
    let running = serve_peer(service(&name, &registry).stop_grace(grace)).await;
    let peer = new_peer_service(&name, &client(&registry));
    let (mut requests, mut replies) = peer.chat().await.unwrap();
    requests.send(Req::default()).await.unwrap();
    in_time(replies.recv()).await.unwrap().unwrap();
    let begun = Instant::now();
    in_time(running.stop()).await.unwrap();
    assert!(begun.elapsed() >= grace);
    let status = in_time(replies.recv()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

#[tokio::test]
async fn a_service_starts_once() {
    let registry = Memory::new();
    let service = service(&unique("once"), &registry).build().unwrap();
    let running = service.start().await.unwrap();
    let error = service.start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains(service.name()), "{error}");
    // It hurts the one that runs in no way, and there is no second time either.
    TcpStream::connect(running.address()).await.unwrap();
    in_time(running.stop()).await.unwrap();
    service.start().await.unwrap_err();
}

#[tokio::test]
async fn hooks_run_in_order_each_in_its_place() {
    let (registry, name) = (Memory::new(), unique("hooks"));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let hook = |what: &'static str| {
        let (seen, registry, name) = (Arc::clone(&seen), registry.clone(), name.clone());
        move || {
            let (seen, registry, name) = (Arc::clone(&seen), registry.clone(), name.clone());
            async move {
                let known = !registry.get(&name).await?.is_empty();
                seen.lock().unwrap().push((what, known));
                Ok::<(), Error>(())
            }
        }
    };
    let service = service(&name, &registry)
        .after_stop(hook("after stop"))
        .before_stop(hook("before stop"))
        .after_start(hook("after start 1"))
        .after_start(hook("after start 2"))
        .before_start(hook("before start"))
        .build()
        .unwrap();
    in_time(service.start().await.unwrap().stop())
        .await
        .unwrap();
    let expected = [
        ("before start", false),
        ("after start 1", true),
        ("after start 2", true),
        ("before stop", true),
        ("after stop", false),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

fn failing() -> impl Fn() -> std::future::Ready<Result<(), Error>> + Send + Sync + 'static {
    || std::future::ready(Err(Error::new(ErrorKind::Config, "the hook says no")))
}

#[tokio::test]
async fn a_hook_that_fails_ends_the_start_but_not_the_stop() {
    let (registry, name) = (Memory::new(), unique("failing"));
    for builder in [
        service(&name, &registry).before_start(failing()),
        service(&name, &registry).after_start(failing()),
    ] {
        let error = in_time(builder.build().unwrap().start()).await.unwrap_err();
        assert!(error.to_string().contains("the hook says no"), "{error}");
        assert!(registry.get(&name).await.unwrap().is_empty());
    }
    let stopped = Arc::new(AtomicBool::new(false));
    let after = Arc::clone(&stopped);
    let service = service(&name, &registry)
        .before_stop(failing())
        .after_stop(move || {
            after.store(true, Ordering::Relaxed);
            std::future::ready(Ok(()))
        })
        .build()
        .unwrap();
    let running = service.start().await.unwrap();
    let address = running.address();
    let error = in_time(running.stop()).await.unwrap_err();
    assert!(error.to_string().contains("the hook says no"), "{error}");
    assert!(stopped.load(Ordering::Relaxed));
    TcpStream::connect(address).await.unwrap_err();
    assert!(registry.get(&name).await.unwrap().is_empty());
}

#[tokio::test]
async fn run_until_serves_until_then() {
    let (registry, name) = (Memory::new(), unique("until"));
    let service: Service = service(&name, &registry)
        .drain_delay(Duration::ZERO)
        .build()
        .unwrap();
    front::register(service.server(), |_, _| async {
        Ok(front::answer("until"))
    })
    .unwrap();
    let (end, ended) = oneshot::channel::<()>();
    let running = tokio::spawn(service.run_until(async {
        let _ = ended.await;
    }));
    let front = front_client(&name, &registry);
    eventually("it serves", async || {
        in_time(front.look(question("?"))).await.is_ok()
    })
    .await;
    end.send(()).unwrap();
    joined(running).await.unwrap();
    in_time(front.look(question("?"))).await.unwrap_err();
}

#[tokio::test]
async fn dropping_what_runs_ends_it_at_once() {
    let (registry, name) = (Memory::new(), unique("dropped"));
    let service = service(&name, &registry).build().unwrap();
    let begun = Arc::new(Notify::new());
    let signal = Arc::clone(&begun);
    front::register(service.server(), move |_, _| {
        signal.notify_one();
        std::future::pending()
    })
    .unwrap();
    let running = service.start().await.unwrap();
    let front = new_front_service(&name, &client(&registry));
    let call = tokio::spawn(front.ask(question("?")).timeout(None));
    in_time(begun.notified()).await;
    let address = running.address();
    drop(running);
    let status = joined(call).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    eventually("nobody listens, and nobody is told otherwise", async || {
        TcpStream::connect(&address).await.is_err() && registry.get(&name).await.unwrap().is_empty()
    })
    .await;
    // The client of the service goes on.
    let other = unique("other");
    let _other = serve_answer(crate::support::service(&other, &registry), "x").await;
    let front = new_front_service(&other, service.client());
    assert_eq!(in_time(front.look(question("?"))).await.unwrap().text, "x");
}
