//! Many at once, given up, in order, closed and opened.

use std::sync::Arc;
use std::time::Duration;

use micro_runtime::broker::{Broker, Delivery, Message};
use micro_runtime::{Deadline, ErrorKind};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{
    Case, HUNG, Kit, ack, bodies, both, close, message, publish, publish_all, send, subscribe, text,
};

/// Events of one key arrive in the order in which they were published, one in flight.
pub(super) async fn order<B: Broker>(kit: &Kit<impl Fn() -> B>, level: Delivery) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let mut topic = kit.topic("order", level).concurrency(1);
    if kit.able.queues(level) {
        topic = topic.queue("in-order");
    }
    let mut consumer = subscribe(&theirs, &topic).await?;
    let expected = bodies(100);
    let publishing = async {
        for body in &expected {
            send(&ours, &topic, message(&topic, body.clone()).key("one")).await?;
        }
        Ok(())
    };
    let receiving = async {
        let mut found = Vec::new();
        for _ in &expected {
            let event = kit.next(&mut consumer).await?;
            found.push(text(&event));
            ack(&event).await?;
        }
        Ok(found)
    };
    let found = both(publishing, receiving).await?;
    let wrong = expected.iter().zip(&found).find(|(a, b)| a != b);
    match wrong {
        None => Ok(()),
        Some((expected, found)) => Err(format!(
            "expected {expected:?}, found {found:?} in its place"
        )),
    }
}

/// A thousand publishes at once all resolve, and all arrive.
pub(super) async fn at_once<B: Broker>(kit: &Kit<impl Fn() -> B>, level: Delivery) -> Case {
    let (ours, theirs) = (Arc::new(kit.client()), kit.client());
    let topic = kit.topic("at-once", level).concurrency(64);
    let mut consumer = subscribe(&theirs, &topic).await?;
    let events = bodies(1000);
    let mut publishing = JoinSet::new();
    for body in events.clone() {
        let (ours, topic) = (Arc::clone(&ours), topic.clone());
        publishing.spawn(async move { publish(&*ours, &topic, body).await });
    }
    let published = async {
        while let Some(result) = publishing.join_next().await {
            result.map_err(|error| error.to_string())??;
        }
        Ok::<_, String>(())
    };
    both(published, kit.all(&mut consumer, &events)).await
}

/// Many that are published together arrive as any others, and what is wrong with one is told for its place.
pub(super) async fn together<B: Broker>(kit: &Kit<impl Fn() -> B>, level: Delivery) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let topic = kit.topic("together", level).concurrency(64);
    let mut consumer = subscribe(&theirs, &topic).await?;
    for round in 0..3 {
        let events: Vec<_> = (0..300).map(|number| format!("{round} {number}")).collect();
        let mut messages: Vec<_> = events
            .iter()
            .map(|body| message(&topic, body.clone()))
            .collect();
        messages.insert(150, Message::new("no topic", "x"));
        let publishing = async {
            let all = ours.publish_all(messages, level, Deadline::after(HUNG));
            let failed = timeout(HUNG, all)
                .await
                .map_err(|_| format!("publish_all: not done within {HUNG:?}"))?;
            let found: Vec<_> = (failed.iter())
                .map(|(place, error)| (*place, error.kind()))
                .collect();
            match found == [(150, ErrorKind::Config)] {
                true => Ok(()),
                false => Err(format!("expected one of the 151st, found {failed:?}")),
            }
        };
        both(publishing, kit.all(&mut consumer, &events)).await?;
    }
    let none = ours.publish_all(Vec::new(), level, Deadline::after(HUNG));
    match none.await.is_empty() {
        true => Ok(()),
        false => Err("expected no failures of no events".to_owned()),
    }
}

/// Publishes that are given up harm nobody: what is published after them arrives, once.
pub(super) async fn given_up<B: Broker>(kit: &Kit<impl Fn() -> B>, level: Delivery) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let topic = kit.topic("given-up", level).concurrency(64);
    let mut consumer = subscribe(&theirs, &topic).await?;
    let expected = bodies(20);
    let publishing = async {
        for number in 0..200_u64 {
            let body = format!("given up {number}");
            let deadline = Deadline::after(HUNG);
            let publishing = ours.publish(message(&topic, body), level, deadline);
            // Some after a first look, some on their way.
            let _ = timeout(Duration::from_micros(number * 10), publishing).await;
        }
        publish_all(&ours, &topic, &expected).await
    };
    let receiving = async {
        let (mut missing, mut seen) = (expected.clone(), Vec::new());
        while !missing.is_empty() {
            let event = kit
                .next(&mut consumer)
                .await
                .map_err(|error| format!("{error}, with {} missing", missing.len()))?;
            let body = text(&event);
            if seen.contains(&body) {
                return Err(format!(
                    "expected every event at most once, found {body:?} again"
                ));
            }
            missing.retain(|missing| *missing != body);
            seen.push(body);
            // Whoever gave up hears of it no more.
            let _ = event.ack().await;
        }
        Ok(())
    };
    both(publishing, receiving).await
}

/// Subscribing that is given up leaves no member behind that takes events.
pub(super) async fn ghosts<B: Broker>(kit: &Kit<impl Fn() -> B>, level: Delivery) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let topic = kit.topic("ghosts", level).queue("haunted");
    for number in 0..8_u64 {
        let subscribing = theirs.subscribe(&topic);
        let _ = timeout(Duration::from_micros(number * 300), subscribing).await;
    }
    let mut consumer = subscribe(&theirs, &topic).await?;
    // At most once, the broker may learn of those that left after it has handed them something: let it.
    if level == Delivery::AtMostOnce {
        let settle = async {
            let mut row = 0;
            while row < 20 {
                let receiving = async {
                    let event = super::next(&mut consumer, super::CALM).await?;
                    ack(&event).await
                };
                match both(publish(&ours, &topic, "who is there"), receiving).await {
                    Ok(()) => row += 1,
                    Err(_) => row = 0,
                }
            }
            Ok::<_, String>(())
        };
        timeout(kit.able.patience, settle)
            .await
            .map_err(|_| "events went to members that are gone".to_owned())??;
        // Those that came too late to count.
        while let Ok(event) = super::next(&mut consumer, super::CALM).await {
            ack(&event).await?;
        }
    }
    let events = bodies(30);
    both(
        publish_all(&ours, &topic, &events),
        kit.all(&mut consumer, &events),
    )
    .await
}

/// After `close` all goes on: subscriptions stay, and what is asked for connects again.
pub(super) async fn closed<B: Broker>(kit: &Kit<impl Fn() -> B>, level: Delivery) -> Case {
    let ours = kit.client();
    let topic = kit.topic("closed", level);
    let mut consumer = subscribe(&ours, &topic).await?;
    for round in 0..3 {
        let body = vec![format!("round {round}")];
        both(
            publish_all(&ours, &topic, &body),
            kit.all(&mut consumer, &body),
        )
        .await
        .map_err(|error| format!("after {round} closes: {error}"))?;
        timeout(HUNG, ours.close())
            .await
            .map_err(|_| format!("close of the broker: not done within {HUNG:?}"))?;
    }
    close(consumer).await?;
    let mut consumer = subscribe(&ours, &topic).await?;
    // Two closes at once are one.
    tokio::join!(ours.close(), ours.close());
    let body = vec!["the last".to_owned()];
    both(
        publish_all(&ours, &topic, &body),
        kit.all(&mut consumer, &body),
    )
    .await
}
