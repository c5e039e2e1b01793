//! Who gets an event, and what `publish` says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use micro_runtime::broker::{
    AnyBroker, Broker, Consumer, Delivery, Http, Settle, Topic, subscribe,
};
use micro_runtime::registry::{AnyRegistry, Memory, Registry};
use micro_runtime::{Context, Deadline, ErrorKind};
use micro_tests::events::{Acking, PATIENCE, next, publish};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use super::{broker, entries, entry, message, publish_within};

/// Longer than anything takes, on a machine that stands still now and then.
const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn everybody_gets_it_and_one_of_each_queue() {
    let registry = Memory::new();
    let (one, two) = (broker(&registry), broker(&registry));
    let topic = || Topic::new("orders.placed");
    let mut everybody = Vec::new();
    for broker in [&one, &two, &two] {
        everybody.push(Acking::subscribe(broker, &topic()).await.unwrap());
    }
    let mut queues = Vec::new();
    for queue in ["billing", "stock"] {
        let mut members = Vec::new();
        for broker in [&one, &two, &two] {
            let topic = topic().queue(queue);
            members.push(Acking::subscribe(broker, &topic).await.unwrap());
        }
        queues.push(members);
    }
    let mut other = Acking::subscribe(&two, &Topic::new("orders.paid"))
        .await
        .unwrap();
    let publisher = broker(&registry);
    for number in 0..60 {
        let event = message("orders.placed").header("x-number", number.to_string());
        publish(&publisher, event).await.unwrap();
    }
    for open in &mut everybody {
        for number in 0..60 {
            let event = open.next().await.unwrap();
            assert_eq!(
                event.headers().get("x-number"),
                Some(number.to_string().as_str())
            );
        }
    }
    for members in queues {
        let mut counts = Vec::new();
        for open in members {
            counts.push(open.close().await.len());
        }
        assert_eq!(counts.iter().sum::<usize>(), 60, "{counts:?}");
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }
    assert!(other.events.try_recv().is_err());
}

#[tokio::test]
async fn it_resolves_when_the_handlers_are_done() {
    let registry = Memory::new();
    let mut open = broker(&registry).subscribe(&Topic::new("t")).await.unwrap();
    let publisher = broker(&registry);
    let publishing = publish(&publisher, message("t"));
    let mut publishing = std::pin::pin!(publishing);
    let event = tokio::select! {
        _ = &mut publishing => panic!("nobody has handled it"),
        event = next(&mut open) => event.unwrap(),
    };
    assert!(!event.is_settled());
    event.ack().await.unwrap();
    publishing.await.unwrap();
}

#[tokio::test]
async fn a_handler_that_fails_is_told_of() {
    let registry = Memory::new();
    let mut bad = broker(&registry).subscribe(&Topic::new("t")).await.unwrap();
    let id = entry(&registry).await.id;
    let mut good = Acking::subscribe(&broker(&registry), &Topic::new("t"))
        .await
        .unwrap();
    let publisher = broker(&registry);
    let (published, ()) = tokio::join!(publish(&publisher, message("t")), async {
        let event = next(&mut bad).await.unwrap();
        event.nack(Duration::from_secs(1)).await.unwrap();
    });
    let error = published.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Broker);
    let words = error.to_string();
    assert!(words.starts_with("1 of 2 subscribers of \"t\""), "{words}");
    assert!(words.contains(&id) && words.contains("500"), "{words}");
    assert!(
        words.contains(r#""id":"go.micro.broker","code":500"#),
        "{words}"
    );
    good.next().await.unwrap();
    assert!(good.events.try_recv().is_err());
}

#[tokio::test]
async fn of_a_queue_another_one_gets_what_one_does_not_take() {
    let registry = Memory::new();
    let topic = Topic::new("t").queue("q");
    let mut bad = broker(&registry).subscribe(&topic).await.unwrap();
    // A port where nobody is: its process died without a word.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut dead = registry.get("micro.http.broker").await.unwrap().remove(0);
    dead.nodes[0].id = "t-dead".to_owned();
    dead.nodes[0].address = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    registry.register(&dead, Duration::ZERO).await.unwrap();
    let failing = tokio::spawn(async move {
        // Nobody works on them.
        while let Ok(event) = next(&mut bad).await {
            drop(event);
        }
    });
    let publisher = broker(&registry);
    let words = publish_within(&publisher, message("t"), Duration::from_secs(3))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        words.contains("t-dead at 127.0.0.1") && words.contains("503"),
        "{words}"
    );
    let mut good = Acking::subscribe(&broker(&registry), &topic).await.unwrap();
    // Once the news is there.
    let begun = Instant::now();
    while publish(&publisher, message("t")).await.is_err() {
        assert!(begun.elapsed() < LONG);
    }
    for _ in 0..20 {
        publish(&publisher, message("t")).await.unwrap();
        good.next().await.unwrap();
    }
    failing.abort();
}

#[tokio::test]
async fn nobody_is_no_error_unless_it_is() {
    let registry = Memory::new();
    let ours = broker(&registry);
    publish(&ours, message("t")).await.unwrap();
    let strict = broker(&registry).require_subscriber(true);
    let error = publish(&strict, message("t")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Broker);
    assert!(
        error.to_string().contains("nobody is subscribed to \"t\""),
        "{error}"
    );
    // Who comes now is found: at once where the registry tells of changes.
    let mut open = Acking::subscribe(&ours, &Topic::new("t")).await.unwrap();
    let begun = Instant::now();
    while publish(&strict, message("t")).await.is_err() {
        assert!(begun.elapsed() < LONG);
    }
    open.next().await.unwrap();
}

#[tokio::test]
async fn who_left_is_not_missed() {
    let registry = Memory::new();
    let mut stays = Acking::subscribe(&broker(&registry), &Topic::new("t"))
        .await
        .unwrap();
    let gone = broker(&registry);
    let leaves = gone.subscribe(&Topic::new("t")).await.unwrap();
    let publisher = broker(&registry);
    let (published, ()) = tokio::join!(publish(&publisher, message("t")), async {
        // Dropped with an event that nobody has looked at, and with its listener.
        let mut leaves = leaves;
        let event = next(&mut leaves).await.unwrap();
        leaves.close().await;
        drop(event);
        gone.close().await;
    });
    published.unwrap();
    publish(&publisher, message("t")).await.unwrap();
    for _ in 0..2 {
        stays.next().await.unwrap();
    }
}

#[tokio::test]
async fn who_died_is_missed_until_the_registry_forgets_him() {
    let registry = Memory::new();
    let mut stays = Acking::subscribe(&broker(&registry), &Topic::new("t"))
        .await
        .unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut dead = registry.get("micro.http.broker").await.unwrap().remove(0);
    dead.nodes[0].id = "t-dead".to_owned();
    dead.nodes[0].address = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    registry
        .register(&dead, Duration::from_secs(2))
        .await
        .unwrap();
    let publisher = broker(&registry);
    let begun = Instant::now();
    let words = publish(&publisher, message("t"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        words.starts_with("1 of 2") && words.contains("t-dead"),
        "{words}"
    );
    // Nobody waited for a deadline.
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    stays.next().await.unwrap();
    while publish(&publisher, message("t")).await.is_err() {
        assert!(begun.elapsed() < LONG);
        stays.next().await.unwrap();
    }
    stays.next().await.unwrap();
}

#[tokio::test]
async fn with_retries_it_is_sent_until_it_is_handled() {
    let registry = Memory::new();
    for queue in [None, Some("q")] {
        let topic = match queue {
            None => Topic::new("t"),
            Some(queue) => Topic::new("u").queue(queue),
        };
        let mut open = broker(&registry).subscribe(&topic).await.unwrap();
        let publisher = broker(&registry).retries(true);
        let (published, ()) = tokio::join!(publish(&publisher, message(topic.name())), async {
            for _ in 0..3 {
                let event = next(&mut open).await.unwrap();
                event.nack(Duration::ZERO).await.unwrap();
            }
            next(&mut open).await.unwrap().ack().await.unwrap();
        });
        published.unwrap();
        // Until the deadline, and not longer; what was said before it is told with it.
        let failing = tokio::spawn(async move {
            let event = next(&mut open).await.unwrap();
            event.nack(Duration::ZERO).await.unwrap();
            let _held = next(&mut open).await.unwrap();
            std::future::pending::<()>().await;
        });
        let published = publish_within(&publisher, message(topic.name()), Duration::from_secs(3));
        let words = timeout(LONG, published)
            .await
            .unwrap()
            .unwrap_err()
            .to_string();
        assert!(
            words.contains("500") && words.contains("no answer"),
            "{words}"
        );
        failing.abort();
    }
}

#[tokio::test]
async fn the_deadline_is_kept() {
    let registry = Memory::new();
    let mut open = broker(&registry).subscribe(&Topic::new("t")).await.unwrap();
    let publisher = broker(&registry);
    let begun = Instant::now();
    let (published, event) = tokio::join!(
        publish_within(&publisher, message("t"), Duration::from_millis(300)),
        next(&mut open)
    );
    let words = published.unwrap_err().to_string();
    assert!(words.contains("no answer within"), "{words}");
    assert!(begun.elapsed() < LONG);
    // Late is late, but no error.
    event.unwrap().ack().await.unwrap();
}

#[tokio::test]
async fn it_says_what_it_cannot_do() {
    let ours = Http::new();
    let error = ours.check(Delivery::AtLeastOnce).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    for way in ["nats", "JetStream", "rabbitmq", "kafka", "redis"] {
        assert!(error.to_string().contains(way), "{error}");
    }
    let topic = Topic::new("t").delivery(Delivery::AtLeastOnce);
    assert_eq!(
        ours.subscribe(&topic).await.unwrap_err().kind(),
        ErrorKind::Unsupported
    );
    let deadline = Deadline::after(Duration::from_secs(1));
    let published = ours.publish(message("t"), Delivery::AtLeastOnce, deadline);
    assert_eq!(published.await.unwrap_err().kind(), ErrorKind::Unsupported);

    for error in [
        publish(&ours, message("t")).await.unwrap_err(),
        ours.subscribe(&Topic::new("t")).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("registry"), "{error}");
    }
    for bad in [
        Http::new().address("nowhere"),
        Http::new().address("unix:/tmp/x"),
        Http::new().max_body(0),
        Http::new().max_body(33 << 20),
        Http::new().max_connections(0),
    ] {
        let error = bad.check(Delivery::AtMostOnce).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains("broker::Http::"), "{error}");
    }
    let ours = broker(&Memory::new());
    let topic = Topic::new("t").queue("ff.http.broadcast");
    assert_eq!(
        ours.subscribe(&topic).await.unwrap_err().kind(),
        ErrorKind::Config
    );
    // Where nobody can listen. 192.0.2.0/24 is nobody's.
    let listens = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = listens.local_addr().unwrap().to_string();
    for (address, says) in [(taken.as_str(), "port 0"), ("192.0.2.1:0", "advertise")] {
        let ours = AnyBroker::new(broker(&Memory::new()).address(address));
        let open = subscribe(&ours, Topic::new("t"), async |_: Context, _: String| Ok(())).unwrap();
        let error = timeout(LONG, open.ready()).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        let words = format!("{error:?}");
        assert!(
            words.contains("broker::Http::address") && words.contains(says),
            "{words}"
        );
        assert!(
            words.contains(&format!("cannot listen on {address}")),
            "{words}"
        );
    }
}

#[tokio::test]
async fn the_registry_of_the_service_is_used() {
    let registry = Memory::new();
    let ours = Http::new();
    let any = AnyBroker::new(ours.clone());
    any.attach(&AnyRegistry::new(registry.clone()));
    any.attach(&AnyRegistry::new(Memory::new()));
    let mut open = Acking::subscribe(&any, &Topic::new("t")).await.unwrap();
    assert_eq!(entries(&registry).await.len(), 1);
    publish(&broker(&registry), message("t")).await.unwrap();
    publish(&ours, message("t")).await.unwrap();
    for _ in 0..2 {
        open.next().await.unwrap();
    }
    // Its own goes first.
    let own = Memory::new();
    let ours = broker(&own);
    ours.attach(&AnyRegistry::new(registry.clone()));
    let _open = ours.subscribe(&Topic::new("t")).await.unwrap();
    assert_eq!(entries(&own).await.len(), 1);
}

#[tokio::test]
async fn what_comes_back_unhandled_is_sent_again() {
    let registry = Memory::new();
    let mut open = broker(&registry).subscribe(&Topic::new("t")).await.unwrap();
    let publisher = broker(&registry);
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let (published, ()) = tokio::join!(publish(&publisher, message("t")), async move {
        // Dropped: nobody worked on it.
        drop(next(&mut open).await.unwrap());
        count.fetch_add(1, Ordering::SeqCst);
        let event = next(&mut open).await.unwrap();
        count.fetch_add(1, Ordering::SeqCst);
        event.ack().await.unwrap();
        assert!(event.is_settled());
        // What is settled stays so.
        event.nack(Duration::ZERO).await.unwrap();
    });
    published.unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 2);
    assert_ne!(Settle::Return, Settle::Ack);
}
