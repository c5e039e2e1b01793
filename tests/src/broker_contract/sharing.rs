//! Who gets an event: every subscriber, or one of a queue.

use std::slice::from_mut;

use micro_runtime::ErrorKind;
use micro_runtime::broker::{Broker, Consumer as _, Delivery, Topic};

use super::{
    CALM, Case, Kit, ack, bodies, both, close, next, publish, publish_all, subscribe, text, texts,
};

/// Without a queue each subscriber gets every event, two of one client too, until it stops.
pub(super) async fn broadcast<B: Broker>(kit: &Kit<impl Fn() -> B>, level: Delivery) -> Case {
    let (ours, theirs, others) = (kit.client(), kit.client(), kit.client());
    let topic = kit.topic("broadcast", level);
    let mut subscribers = vec![
        subscribe(&ours, &topic).await?,
        subscribe(&theirs, &topic).await?,
        subscribe(&theirs, &topic).await?,
        subscribe(&others, &topic).await?,
    ];
    let first = bodies(20);
    both(
        publish_all(&ours, &topic, &first),
        kit.each(&mut subscribers, |_| bodies(20)),
    )
    .await?;
    // One leaves, by being dropped: the others go on.
    drop(subscribers.remove(1));
    let second = vec!["after one left".to_owned()];
    both(
        publish_all(&ours, &topic, &second),
        kit.each(&mut subscribers, |_| second.clone()),
    )
    .await
    .map_err(|error| format!("after one left: {error}"))
}

/// What is published right after `subscribe` resolved is not missed.
pub(super) async fn nothing_missed<B: Broker>(kit: &Kit<impl Fn() -> B>, level: Delivery) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let mut warm = subscribe(&theirs, &kit.topic("missed-warm", level)).await?;
    both(
        publish(&ours, &kit.topic("missed-warm", level), "warm"),
        kit.all(&mut warm, &["warm".to_owned()]),
    )
    .await?;
    for round in 0..5 {
        let topic = kit.topic(&format!("missed-{round}"), level);
        let mut consumer = subscribe(&theirs, &topic).await?;
        if !kit.able.known_at_once {
            known(kit, &ours, &topic, &mut consumer).await?;
        }
        let events = bodies(20);
        both(
            publish_all(&ours, &topic, &events),
            kit.gather(from_mut(&mut consumer), &events),
        )
        .await
        .map_err(|error| format!("round {round}: {error}"))?;
        close(consumer).await?;
    }
    Ok(())
}

/// Publishes until an event comes.
async fn known<B: Broker>(
    kit: &Kit<impl Fn() -> B>,
    ours: &B,
    topic: &Topic,
    consumer: &mut B::Consumer,
) -> Case {
    let trying = async {
        loop {
            let receiving = async {
                let event = next(consumer, CALM).await?;
                ack(&event).await
            };
            if both(publish(ours, topic, "known"), receiving).await.is_ok() {
                return Ok(());
            }
        }
    };
    tokio::time::timeout(kit.able.patience, trying)
        .await
        .map_err(|_| "the subscription never became known".to_owned())?
}

/// The members of a queue share its events: each goes to one of them.
pub(super) async fn queue<B: Broker>(kit: &Kit<impl Fn() -> B>, level: Delivery) -> Case {
    let (ours, theirs, others) = (kit.client(), kit.client(), kit.client());
    let topic = kit.topic("queue", level).queue("workers");
    let mut members = Vec::new();
    for broker in [&ours, &theirs, &others] {
        members.push(subscribe(broker, &topic).await?);
    }
    let events = bodies(60);
    both(
        publish_all(&ours, &topic, &events),
        kit.shared(&mut members, &events),
    )
    .await?;
    // Whoever is left has them all.
    members.truncate(1);
    let events: Vec<_> = (0..20).map(|number| format!("later {number}")).collect();
    if level == Delivery::AtLeastOnce {
        publish_all(&ours, &topic, &events).await?;
        return kit.all(&mut members[0], &events).await;
    }
    // At most once, the broker may hand events to those that left until it knows, and say so or not.
    let publishing = async {
        for body in &events {
            let _ = publish(&ours, &topic, body.clone()).await;
        }
        Ok(())
    };
    let receiving = async {
        let mut came = 0;
        while let Ok(event) = next(&mut members[0], CALM * 8).await {
            ack(&event).await?;
            came += usize::from(events.contains(&text(&event)));
        }
        Ok(came)
    };
    match both(publishing, receiving).await? {
        0 => Err("expected events for the member that is left, found none".to_owned()),
        _ => Ok(()),
    }
}

/// At most once, a member that stops is given nothing more, though it is not closed yet: the others have it all.
pub(super) async fn stopped<B: Broker>(kit: &Kit<impl Fn() -> B>) -> Case {
    let (ours, theirs, others) = (kit.client(), kit.client(), kit.client());
    let topic = kit.topic("stops", Delivery::AtMostOnce).queue("workers");
    let mut first = subscribe(&theirs, &topic).await?;
    let mut second = subscribe(&others, &topic).await?;
    let before = bodies(20);
    both(publish_all(&ours, &topic, &before), async {
        let mut came = 0;
        while came < before.len() {
            let event = tokio::select! {
                event = kit.next(&mut first) => event?,
                event = kit.next(&mut second) => event?,
            };
            ack(&event).await?;
            came += 1;
        }
        Ok(())
    })
    .await?;
    first.stop();
    // It is asked without a wait; the server knows a moment later.
    tokio::time::sleep(CALM * 4).await;
    let after: Vec<_> = (0..20).map(|number| format!("after {number}")).collect();
    both(
        publish_all(&ours, &topic, &after),
        kit.all(&mut second, &after),
    )
    .await?;
    close(first).await?;
    close(second).await
}

/// Queues get every event each, and so does a subscriber without one.
pub(super) async fn two_queues<B: Broker>(kit: &Kit<impl Fn() -> B>, level: Delivery) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let plain = kit.topic("queues", level);
    let (red, blue) = (plain.clone().queue("red"), plain.clone().queue("blue"));
    let mut reds = vec![
        subscribe(&ours, &red).await?,
        subscribe(&theirs, &red).await?,
    ];
    let mut blues = vec![subscribe(&theirs, &blue).await?];
    let mut alone = subscribe(&theirs, &plain).await?;
    let events = bodies(30);
    let wrong = |queue: &'static str| move |error| format!("{queue}: {error}");
    let receiving = async {
        let (reds, blues, alone) = tokio::join!(
            kit.shared(&mut reds, &events),
            kit.shared(&mut blues, &events),
            kit.all(&mut alone, &events)
        );
        reds.map_err(wrong("red"))?;
        blues.map_err(wrong("blue"))?;
        alone.map_err(wrong("no queue"))
    };
    both(publish_all(&ours, &plain, &events), receiving).await
}

/// A broker without queues says so.
pub(super) async fn no_queues<B: Broker>(kit: &Kit<impl Fn() -> B>, level: Delivery) -> Case {
    let topic = kit.topic("no-queues", level).queue("workers");
    let subscribed = kit.client().subscribe(&topic).await.map(drop);
    match subscribed.map_err(|error| error.kind()) {
        Err(ErrorKind::Unsupported) => Ok(()),
        other => Err(format!(
            "expected a queue to be an error of kind Unsupported, found {other:?}"
        )),
    }
}

/// Topics whose names begin alike, and queues of one name on several topics, are apart.
pub(super) async fn topics_apart<B: Broker>(kit: &Kit<impl Fn() -> B>, level: Delivery) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    // Kafka takes `apart_a` and `apart.a` for one.
    let names = ["apart", "apart.a", "apart-a", "apart-", "Apart"];
    let (mut topics, mut members) = (Vec::new(), Vec::new());
    for name in names {
        if name == "apart_a" && !kit.able.tells_dots_from_underscores {
            continue;
        }
        let mut topic = kit.topic(name, level);
        if kit.able.queues(level) {
            topic = topic.queue("same");
        }
        members.push(subscribe(&theirs, &topic).await?);
        topics.push(topic);
    }
    let publishing = async {
        for topic in &topics {
            publish(&ours, topic, topic.name()).await?;
        }
        Ok(())
    };
    let own = |number: usize| vec![topics[number].name().to_owned()];
    both(publishing, kit.each(&mut members, own)).await
}

/// No member takes more than it has room for while another has nothing.
pub(super) async fn spread<B: Broker>(kit: &Kit<impl Fn() -> B>) -> Case {
    let brokers = [kit.client(), kit.client(), kit.client()];
    let topic = kit.work("spread", 1);
    let mut members = Vec::new();
    for broker in &brokers {
        members.push(subscribe(broker, &topic).await?);
    }
    publish_all(&brokers[0], &topic, &bodies(6)).await?;
    let mut held = Vec::new();
    for (number, member) in members.iter_mut().enumerate() {
        let event = kit
            .next(member)
            .await
            .map_err(|error| format!("member {number}: {error}"))?;
        held.push(event);
    }
    for event in &held {
        ack(event).await?;
    }
    let rest: Vec<_> = bodies(6)
        .into_iter()
        .filter(|body| !texts(&held).contains(body))
        .collect();
    kit.shared(&mut members, &rest).await
}
