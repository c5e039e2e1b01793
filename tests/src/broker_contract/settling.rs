//! What becomes of an event that was handed out. All of this is delivered at least once.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use micro_runtime::broker::{Broker, Event};
use tokio::time::Instant;

use super::{
    CALM, Case, Kit, ack, any, bodies, close, in_time, nothing, publish, publish_all, subscribe,
    text, texts,
};

/// How much earlier than asked a retry may come: timers count in milliseconds.
const EARLY: Duration = Duration::from_millis(5);

/// No more than the bound are handed out and unsettled; each that is settled makes room for one.
pub(super) async fn in_flight<B: Broker>(kit: &Kit<impl Fn() -> B>) -> Case {
    const BOUND: usize = 4;
    let (ours, theirs) = (kit.client(), kit.client());
    let topic = kit.work("in-flight", BOUND);
    let mut members = [subscribe(&theirs, &topic).await?];
    let all = bodies(12);
    publish_all(&ours, &topic, &all).await?;
    let mut held: Vec<Event> = Vec::new();
    let mut seen: Vec<(String, u32)> = Vec::new();
    let mut missing: BTreeSet<String> = all.into_iter().collect();
    while !missing.is_empty() {
        while held.len() < BOUND && !missing.is_empty() {
            let event = kit.next(&mut members[0]).await.map_err(|error| {
                format!("{} held of {BOUND}, seen {seen:?}: {error}", held.len())
            })?;
            seen.push((text(&event), event.attempt()));
            // A connection that was lost brings some again, and says so.
            if !missing.remove(&text(&event)) && event.attempt() == 1 {
                return Err(format!("expected each event once, found {seen:?}"));
            }
            held.push(event);
        }
        let why = format!("with {} events unsettled, seen {seen:?}", held.len());
        nothing(&mut members, &why, CALM).await?;
        // One by one at first, then all that are held.
        let settled = if seen.len() < BOUND + 2 { 1 } else { BOUND };
        for event in held.drain(..settled.min(held.len())) {
            ack(&event).await?;
        }
    }
    for event in &held {
        ack(event).await?;
    }
    Ok(())
}

/// What was acknowledged comes no more: not to a later member, not after the wait.
pub(super) async fn acked<B: Broker>(kit: &Kit<impl Fn() -> B>) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let topic = kit.work("ack", 4);
    let mut consumer = subscribe(&theirs, &topic).await?;
    publish_all(&ours, &topic, &bodies(10)).await?;
    kit.all(&mut consumer, &bodies(10)).await?;
    close(consumer).await?;
    let mut later = [subscribe(&ours, &topic).await?];
    publish(&ours, &topic, "marker").await?;
    kit.all(&mut later[0], &["marker".to_owned()]).await?;
    let why = "after all was acknowledged";
    nothing(&mut later, why, kit.able.ack_wait + CALM).await
}

/// A retry comes again, not before its time, with an attempt more.
pub(super) async fn retry<B: Broker>(kit: &Kit<impl Fn() -> B>) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let topic = kit.work("retry", 1);
    let mut consumer = subscribe(&theirs, &topic).await?;
    publish(&ours, &topic, "again").await?;
    let delays = [
        Duration::from_millis(1500),
        Duration::ZERO,
        Duration::from_millis(300),
    ];
    let mut due = None;
    for (number, delay) in (1..).zip(delays) {
        let event = kit.next(&mut consumer).await?;
        let now = Instant::now();
        let attempt = if kit.able.counts {
            number
        } else {
            number.min(2)
        };
        if text(&event) != "again" || event.attempt() != attempt {
            return Err(format!(
                "expected attempt {attempt}, found {:?}, attempt {}",
                text(&event),
                event.attempt()
            ));
        }
        if let Some(due) = due.filter(|due| now + EARLY < *due) {
            return Err(format!(
                "attempt {attempt} came {:?} before its time",
                due - now
            ));
        }
        due = Some(Instant::now() + delay);
        in_time("nack", event.nack(delay)).await?;
    }
    kit.all(&mut consumer, &["again".to_owned()]).await
}

/// While an event waits for its retry, others are handed out.
pub(super) async fn retry_aside<B: Broker>(kit: &Kit<impl Fn() -> B>) -> Case {
    // A server that waits for its disk may need longer for the others than the retry has to wait.
    let mut slow = String::new();
    for delay in [2, 10, 50].map(Duration::from_secs) {
        match retry_aside_of(kit, delay).await? {
            None => return Ok(()),
            Some(took) => slow = format!("5 others took {took:.1?} beside a retry in {delay:?}"),
        }
    }
    Err(slow)
}

/// How long the others took, if that was too long to say anything.
async fn retry_aside_of<B: Broker>(
    kit: &Kit<impl Fn() -> B>,
    delay: Duration,
) -> Result<Option<Duration>, String> {
    let (ours, theirs) = (kit.client(), kit.client());
    let topic = kit.work(&format!("aside-{}", delay.as_secs()), 1);
    let mut consumer = subscribe(&theirs, &topic).await?;
    publish(&ours, &topic, "poison").await?;
    let event = kit.next(&mut consumer).await?;
    let begun = Instant::now();
    in_time("nack", event.nack(delay)).await?;
    publish_all(&ours, &topic, &bodies(5)).await?;
    let mut others = 0;
    while others < 5 {
        let event = kit.next(&mut consumer).await?;
        let is_poison = text(&event) == "poison";
        ack(&event).await?;
        let took = begun.elapsed();
        match is_poison {
            true if took + EARLY < delay => {
                return Err(format!(
                    "expected {others} of 5 others before the retry in {delay:?}, found the retry after {took:?}"
                ));
            }
            true => return Ok(Some(took)),
            false => others += 1,
        }
    }
    let took = begun.elapsed();
    kit.all(&mut consumer, &["poison".to_owned()]).await?;
    Ok((took >= delay).then_some(took))
}

/// An event that is dropped unsettled comes again at once.
pub(super) async fn dropped_event<B: Broker>(kit: &Kit<impl Fn() -> B>) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let topic = kit.work("return", 2).ack_wait(Duration::from_secs(60));
    let mut consumer = subscribe(&theirs, &topic).await?;
    publish(&ours, &topic, "dropped").await?;
    drop(kit.next(&mut consumer).await?);
    kit.all(&mut consumer, &["dropped".to_owned()]).await
}

/// An event stays with a living handler however long that takes, longer than the wait.
pub(super) async fn held<B: Broker>(kit: &Kit<impl Fn() -> B>) -> Case {
    // A machine that stands still for the wait has been silent for so long: then once more, with more time.
    match held_with(kit, kit.able.ack_wait).await {
        Ok(()) => Ok(()),
        Err(first) => held_with(kit, kit.able.ack_wait * 8)
            .await
            .map_err(|second| format!("{second}, and before that: {first}")),
    }
}

async fn held_with<B: Broker>(kit: &Kit<impl Fn() -> B>, wait: Duration) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let topic = kit
        .work(&format!("held-{}", wait.as_secs()), 2)
        .ack_wait(wait);
    let mut members = [
        subscribe(&ours, &topic).await?,
        subscribe(&theirs, &topic).await?,
    ];
    publish(&ours, &topic, "long").await?;
    let (_, event) = tokio::time::timeout(kit.able.patience, any(&mut members))
        .await
        .map_err(|_| "no event".to_owned())?;
    let event = event?;
    nothing(&mut members, "while its handler works", wait * 3 + CALM).await?;
    ack(&event).await?;
    nothing(&mut members, "after its ack", wait + CALM).await
}

/// What a member held that was dropped goes to another.
pub(super) async fn dropped_member<B: Broker>(kit: &Kit<impl Fn() -> B>) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let topic = kit.work("dropped", 3);
    let mut first = subscribe(&ours, &topic).await?;
    publish_all(&ours, &topic, &bodies(3)).await?;
    let held = kit.take(&mut first, &bodies(3)).await?;
    let mut second = subscribe(&theirs, &topic).await?;
    drop(first);
    drop(held);
    kit.all(&mut second, &bodies(3)).await
}

/// The same while somebody still has them in hand, whose word does not count any more.
pub(super) async fn dropped_member_holds<B: Broker>(kit: &Kit<impl Fn() -> B>) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let topic = kit.work("dropped-held", 3);
    let mut first = subscribe(&ours, &topic).await?;
    publish_all(&ours, &topic, &bodies(3)).await?;
    let held = kit.take(&mut first, &bodies(3)).await?;
    let mut second = subscribe(&theirs, &topic).await?;
    drop(first);
    kit.all(&mut second, &bodies(3)).await?;
    drop(held);
    nothing(
        std::slice::from_mut(&mut second),
        "after what was held came and was acknowledged",
        CALM,
    )
    .await
}

/// Close gives back what is unsettled, and nothing else.
pub(super) async fn closed<B: Broker>(kit: &Kit<impl Fn() -> B>) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let topic = kit.work("close", 3);
    let mut first = subscribe(&ours, &topic).await?;
    publish_all(&ours, &topic, &bodies(3)).await?;
    let mut held = kit.take(&mut first, &bodies(3)).await?;
    ack(&held.remove(0)).await?;
    let begun = Instant::now();
    close(first).await?;
    if begun.elapsed() > Duration::from_secs(10) {
        return Err(format!(
            "expected close within 10 s, found that it took {:?}",
            begun.elapsed()
        ));
    }
    let mut second = subscribe(&theirs, &topic).await?;
    kit.all(&mut second, &texts(&held)).await?;
    nothing(
        std::slice::from_mut(&mut second),
        "after close",
        kit.able.ack_wait + CALM,
    )
    .await
}

/// Acknowledgements that are on their way when it is closed arrive.
pub(super) async fn close_acking<B: Broker>(kit: &Kit<impl Fn() -> B>) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let topic = kit.work("close-acking", 20);
    let mut first = subscribe(&ours, &topic).await?;
    publish_all(&ours, &topic, &bodies(20)).await?;
    let held = kit.take(&mut first, &bodies(20)).await?;
    let mut acks: Vec<_> = held.iter().map(|event| Box::pin(ack(event))).collect();
    let mut answers = Vec::new();
    // Each is begun before the close, whose end none needs.
    poll_fn(|cx| {
        acks.retain_mut(|ack| match ack.as_mut().poll(cx) {
            Poll::Ready(answer) => {
                answers.push(answer);
                false
            }
            Poll::Pending => true,
        });
        Poll::Ready(())
    })
    .await;
    close(first).await?;
    for ack in acks {
        answers.push(ack.await);
    }
    answers.into_iter().collect::<Result<(), String>>()?;
    let mut second = subscribe(&theirs, &topic).await?;
    publish(&ours, &topic, "marker").await?;
    kit.all(&mut second, &["marker".to_owned()]).await
}

/// A queue whose members are all gone keeps its events for the next.
pub(super) async fn kept<B: Broker>(kit: &Kit<impl Fn() -> B>) -> Case {
    let ours = kit.client();
    let topic = kit.work("kept", 4);
    for round in 0..2 {
        let mut consumer = subscribe(&kit.client(), &topic).await?;
        let mut expected = vec![format!("while there {round}")];
        publish_all(&ours, &topic, &expected).await?;
        if round > 0 {
            expected.extend(bodies(5));
        }
        kit.all(&mut consumer, &expected).await?;
        close(consumer).await?;
        if round == 0 {
            publish_all(&ours, &topic, &bodies(5)).await?;
        }
    }
    Ok(())
}
