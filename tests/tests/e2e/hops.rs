//! What a call that is made inside a handler takes over from the handler's own.

use std::sync::Arc;
use std::time::Duration;

use micro_runtime::registry::Memory;
use micro_runtime::service::Running;
use micro_runtime::{Client, Code, Context, Deadline, Status};
use micro_tests::front;
use micro_tests::front::v1::{FrontService, Question, new_front_service};
use micro_tests::peer::v1::{PeerService, Req, Rsp, new_peer_service};
use tokio::sync::Notify;

use crate::support::{PATIENCE, client, in_time, joined, serve_peer, service, unique};

/// Two services: `Front`, whose handler calls the second, and `Peer` or another `Front`.
struct Two {
    _running: [Running; 2],
    front: FrontService,
    peer: PeerService,
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap()
}

/// A `Front` that asks another one, and says what deadline that saw.
async fn deadlines(within: Option<Duration>) -> (Running, Running, FrontService) {
    let (registry, outer, inner) = (Memory::new(), unique("outer"), unique("inner"));
    let second = service(&inner, &registry).build().unwrap();
    front::register(second.server(), |ctx, _| async move {
        let left = ctx.deadline().map(Deadline::left);
        let mut answer = front::answer("");
        answer.millis = left.map_or(-1, millis);
        Ok(answer)
    })
    .unwrap();
    let first = service(&outer, &registry).build().unwrap();
    let next = new_front_service(&inner, first.client());
    front::register(first.server(), move |_, question: Question| {
        let mut call = next.ask(question);
        if let Some(within) = within {
            call = call.timeout(within);
        }
        call
    })
    .unwrap();
    let running = (first.start().await.unwrap(), second.start().await.unwrap());
    let front = new_front_service(&outer, &client(&registry));
    (running.0, running.1, front)
}

#[tokio::test]
async fn a_deadline_is_inherited_and_never_extended() {
    let hour = Duration::from_secs(3600);
    let minute = Duration::from_secs(60);
    for (outer, inner, most) in [
        (Some(minute), Some(hour), minute),
        (Some(hour), Some(minute), minute),
        // The default of the inner call, 5 s, is shorter.
        (Some(minute), None, Duration::from_secs(5)),
        (None, Some(minute), minute),
    ] {
        let (_first, _second, front) = deadlines(inner).await;
        let answer = in_time(front.ask(front::question("")).timeout(outer)).await;
        let left = answer.unwrap().millis;
        let most = millis(most);
        assert!((0..=most).contains(&left), "{outer:?} {inner:?}: {left}");
        // Time passes, but not that much of it.
        assert!(left > most / 100, "{outer:?} {inner:?}: {left}");
    }
}

/// A `Front` before a `Peer`: `call` is what its handler does with the client of the peer.
async fn before_peer<F, Fut>(call: F) -> Two
where
    F: Fn(Context, Question, PeerService) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Rsp, Status>> + Send + 'static,
{
    let (registry, outer, inner) = (Memory::new(), unique("front"), unique("peer"));
    let second = serve_peer(service(&inner, &registry)).await;
    let first = service(&outer, &registry).build().unwrap();
    let next = new_peer_service(&inner, first.client());
    let call = Arc::new(call);
    front::register(first.server(), move |ctx, question| {
        let (call, next) = (Arc::clone(&call), next.clone());
        async move {
            let reply = call(ctx, question, next).await?;
            let mut lines: Vec<_> = reply.meta.iter().map(|(k, v)| format!("{k}={v}")).collect();
            lines.sort();
            Ok(front::answer(lines.join("\n")))
        }
    })
    .unwrap();
    let client: Client = client(&registry);
    Two {
        _running: [first.start().await.unwrap(), second],
        front: new_front_service(&outer, &client),
        peer: new_peer_service(&inner, &client),
    }
}

fn has(text: &str, line: &str) -> bool {
    text.lines().any(|found| found == line)
}

#[tokio::test]
async fn metadata_is_inherited_but_for_credentials_and_the_hop() {
    let two = before_peer(|ctx, question, peer| async move {
        let call = peer.headers(Req::default()).metadata("x-own", "inner");
        match question.text.as_str() {
            "forward" => call.forward(["authorization"]).await,
            // A task of its own: the call was created here.
            "spawn" => tokio::spawn(call).await.unwrap(),
            // And one that is created there.
            "scope" => {
                let peer = peer.clone();
                let task = async move { peer.headers(Req::default()).await };
                tokio::spawn(async move { ctx.scope(task).await })
                    .await
                    .unwrap()
            }
            "given" => {
                let peer = peer.clone();
                let task = async move { peer.headers(Req::default()).context(&ctx).await };
                tokio::spawn(task).await.unwrap()
            }
            "lost" => {
                let peer = peer.clone();
                let task = async move { peer.headers(Req::default()).await };
                tokio::spawn(task).await.unwrap()
            }
            _ => call.await,
        }
    })
    .await;
    let ask = async |what: &str| {
        let call = two.front.ask(front::question(what));
        let call = call
            .metadata("x-user", "7")
            .metadata("x-own", "outer")
            .metadata("authorization", "Bearer a")
            .metadata("cookie", "a=b")
            .metadata("micro-topic", "t");
        in_time(call).await.unwrap().text
    };
    for what in ["plain", "spawn", "scope", "given"] {
        let seen = ask(what).await;
        assert!(has(&seen, "x-user=7"), "{what}: {seen}");
        let own = if what == "plain" || what == "spawn" {
            "inner"
        } else {
            "outer"
        };
        assert!(has(&seen, &format!("x-own={own}")), "{what}: {seen}");
        for kept in ["authorization", "cookie", "micro-topic"] {
            assert!(!seen.contains(kept), "{what}: {seen}");
        }
    }
    let seen = ask("forward").await;
    assert!(has(&seen, "authorization=Bearer a"), "{seen}");
    assert!(!seen.contains("cookie"), "{seen}");
    let seen = ask("lost").await;
    assert!(!seen.contains("x-user"), "{seen}");
}

#[tokio::test]
async fn cancellation_goes_through_two_hops() {
    let two = before_peer(|_, question, peer| async move {
        let request = Req {
            name: question.text,
            millis: 3_600_000,
            ..Req::default()
        };
        // Its default of 5 s must not be what ends it.
        peer.sleep(request).timeout(None).await
    })
    .await;
    let state = async |name: &str, tags: &[&str]| {
        let request = Req {
            name: name.to_owned(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            millis: millis(PATIENCE),
            ..Req::default()
        };
        in_time(two.peer.last_cancelled(request).timeout(None))
            .await
            .unwrap()
            .msg
    };
    let call = tokio::spawn(two.front.ask(front::question("dropped")).timeout(None));
    assert_eq!(state("dropped", &["started"]).await, "running");
    call.abort();
    assert_eq!(state("dropped", &[]).await, "cancelled");

    let call = two.front.ask(front::question("late"));
    let status = in_time(call.timeout(Duration::from_millis(300)))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert_eq!(state("late", &[]).await, "cancelled");
}

#[tokio::test]
async fn a_task_of_its_own_is_told_of_the_cancellation() {
    let (registry, name) = (Memory::new(), unique("task"));
    let service = service(&name, &registry).build().unwrap();
    let (begun, told) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let signals = (Arc::clone(&begun), Arc::clone(&told));
    front::register(service.server(), move |ctx, _| {
        let (begun, told) = signals.clone();
        async move {
            let task = ctx.clone();
            tokio::spawn(async move {
                task.cancelled().await;
                told.notify_one();
            });
            begun.notify_one();
            std::future::pending::<()>().await;
            Ok(front::answer(""))
        }
    })
    .unwrap();
    let _running = service.start().await.unwrap();
    let front = new_front_service(&name, &client(&registry));
    let call = tokio::spawn(front.ask(front::question("")).timeout(None));
    in_time(begun.notified()).await;
    call.abort();
    in_time(told.notified()).await;
}

#[tokio::test]
async fn an_error_keeps_its_number_through_two_hops() {
    let two = before_peer(|_, question, peer| async move {
        let fault = micro_tests::peer::v1::Fault {
            code: 418,
            id: "tea.pot".to_owned(),
            detail: question.text,
        };
        let request = Req {
            fault: Some(fault),
            ..Req::default()
        };
        peer.fail(request).await
    })
    .await;
    let call = tokio::spawn(two.front.ask(front::question("short")));
    let status = joined(call).await.unwrap_err();
    assert_eq!((status.micro_code(), status.id()), (418, "tea.pot"));
    assert_eq!(status.message(), "short");
}
