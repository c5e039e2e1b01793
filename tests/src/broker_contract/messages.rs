//! What is published arrives, and as it was; what is refused.

use micro_runtime::broker::{Broker, Delivery, Topic};
use micro_runtime::{Deadline, ErrorKind};
use tokio::time::Instant;

use super::{Case, HUNG, Kit, ack, both, in_time, message, publish, send, subscribe, text};

/// `check` tells what the broker can, and the rest is refused wherever it is asked for.
pub(super) async fn levels<B: Broker>(kit: &Kit<impl Fn() -> B>) -> Case {
    let broker = kit.client();
    for level in [Delivery::AtMostOnce, Delivery::AtLeastOnce] {
        let able = kit.able.levels().contains(&level);
        let found = broker.check(level).map_err(|error| error.kind());
        let expected = if able {
            Ok(())
        } else {
            Err(ErrorKind::Unsupported)
        };
        if found != expected {
            return Err(format!(
                "check of {level}: expected {expected:?}, found {found:?}"
            ));
        }
        if able {
            continue;
        }
        let topic = kit.topic("levels", level);
        let published = broker
            .publish(message(&topic, "x"), level, Deadline::after(HUNG))
            .await;
        let subscribed = broker.subscribe(&topic).await.map(drop);
        for (what, result) in [("publish", published), ("subscribe", subscribed)] {
            let found = result.map_err(|error| error.kind());
            if found != expected {
                return Err(format!(
                    "{what} {level}: expected {expected:?}, found {found:?}"
                ));
            }
        }
    }
    if broker.name().is_empty() {
        return Err("expected a name, found none".to_owned());
    }
    Ok(())
}

/// An event arrives once, with its topic and body, the first attempt, settled only if the level says so.
pub(super) async fn round_trip<B: Broker>(kit: &Kit<impl Fn() -> B>, level: Delivery) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let topic = kit.topic("round-trip", level);
    let mut consumer = subscribe(&theirs, &topic).await?;
    let settled = level == Delivery::AtMostOnce && !kit.able.answers;
    let receiving = async {
        let event = kit.next(&mut consumer).await?;
        let found = (event.topic(), text(&event), event.attempt());
        if found != (topic.name(), "hello".to_owned(), 1) || event.is_settled() != settled {
            return Err(format!(
                "expected \"hello\" of {:?}, attempt 1, settled: {settled}; found {found:?}, settled: {}",
                topic.name(),
                event.is_settled()
            ));
        }
        ack(&event).await?;
        Ok(event)
    };
    let event = both(publish(&ours, &topic, "hello"), receiving).await?;
    if !event.is_settled() {
        return Err("expected the event to be settled after its ack, found that it is not".into());
    }
    // Settled is settled: a second time is no error, and changes nothing.
    in_time("nack after ack", event.nack(std::time::Duration::ZERO)).await?;
    kit.all(&mut consumer, &[]).await
}

/// Headers arrive whatever is in them, by names whose case does not matter.
pub(super) async fn headers<B: Broker>(kit: &Kit<impl Fn() -> B>, level: Delivery) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let topic = kit.topic("headers", level);
    let mut consumer = subscribe(&theirs, &topic).await?;
    let long = "long ".repeat(800);
    let all_bytes: Vec<u8> = (0..=255).collect();
    let texts = [
        ("X-Foo-BAR", "Baz"),
        ("x-empty", ""),
        ("x-odd_name.1", "a=b; c=\"d\\e\" <&> {}[] %20 '+' /?#"),
        ("x-spaces", "two  spaces"),
        ("x-unicode", "ü € 日本 🦀"),
        ("x-long", long.trim_end()),
        ("x-several", "one"),
        ("x-several", "two"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ];
    let mut sent = message(&topic, "with headers");
    for (name, value) in texts {
        sent.headers.append(name, value);
    }
    sent.headers.insert_bin("x-bytes-bin", all_bytes.clone());
    let expected = sent.headers.clone();
    let receiving = async {
        let event = kit.next(&mut consumer).await?;
        ack(&event).await?;
        Ok(event)
    };
    let event = both(send(&ours, &topic, sent), receiving).await?;
    for (name, _) in expected.iter().filter(|(name, _)| !name.ends_with("-bin")) {
        // Go's map has one value of a name: several are parted by commas there.
        let joined = |headers: &micro_runtime::Metadata| {
            let found: Vec<_> = headers.get_all(name).map(str::to_owned).collect();
            found.join(",")
        };
        let (expected, found) = (joined(&expected), joined(event.headers()));
        if event.headers().get(name).is_none() || found != expected {
            return Err(format!(
                "header {name:?}: expected {expected:?}, found {found:?}"
            ));
        }
    }
    let found = event.headers().get_bin("X-BYTES-BIN");
    if found.is_none_or(|found| found[..] != all_bytes[..]) {
        return Err(format!(
            "header \"x-bytes-bin\": expected every byte, found {found:?}"
        ));
    }
    if event.headers().get("x-foo-bar") != Some("Baz") {
        return Err(format!(
            "expected names in any case to be one, found {:?}",
            event.headers()
        ));
    }
    Ok(())
}

/// Bodies of every kind: none, text, all bytes, a byte that is no text, the largest.
pub(super) async fn bodies<B: Broker>(kit: &Kit<impl Fn() -> B>, level: Delivery) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let topic = kit.topic("bodies", level);
    let mut consumer = subscribe(&theirs, &topic).await?;
    let bodies = [
        Vec::new(),
        vec![0],
        vec![0xff],
        b"{\"Header\":{},\"Body\":null}".to_vec(),
        (0..=255).collect(),
        pattern(65_537),
        pattern(kit.able.largest),
        b"the last".to_vec(),
    ];
    for body in bodies {
        let receiving = async {
            let event = kit.next(&mut consumer).await?;
            ack(&event).await?;
            Ok(event)
        };
        let event = both(publish(&ours, &topic, body.clone()), receiving)
            .await
            .map_err(|error| format!("a body of {} bytes: {error}", body.len()))?;
        if event.body()[..] != body[..] {
            return Err(format!(
                "expected the body of {} bytes as it was, found {} bytes",
                body.len(),
                event.body().len()
            ));
        }
    }
    Ok(())
}

fn pattern(length: usize) -> Vec<u8> {
    // 251 is prime: no block of a power of two repeats the one before.
    (0..=250).cycle().take(length).collect()
}

/// A body that is too large is refused soon, and harms nobody.
pub(super) async fn too_large<B: Broker>(kit: &Kit<impl Fn() -> B>, level: Delivery) -> Case {
    let Some(length) = kit.able.too_large else {
        return Ok(());
    };
    let (ours, theirs) = (kit.client(), kit.client());
    let topic = kit.topic("too-large", level);
    let mut consumer = subscribe(&theirs, &topic).await?;
    let begun = Instant::now();
    let published = publish(&ours, &topic, vec![b'x'; length]).await;
    let took = begun.elapsed();
    if published.is_ok() || took > HUNG / 2 {
        return Err(format!(
            "expected a body of {length} bytes to be refused soon, found {published:?} after {took:?}"
        ));
    }
    let small = ["small".to_owned()];
    both(
        publish(&ours, &topic, "small"),
        kit.all(&mut consumer, &small),
    )
    .await
}

/// Names that not every broker has are refused before anybody is asked.
pub(super) async fn bad_names<B: Broker>(kit: &Kit<impl Fn() -> B>, level: Delivery) -> Case {
    let broker = kit.client();
    let long = "n".repeat(250);
    for name in [
        "", " ", "a b", "a/b", "a..b", ".a", "a.", "a*", "a.>", "a\r\nb", "ü", "a\0", &long,
    ] {
        let topic = Topic::new(name).delivery(level);
        let queue = kit.topic("bad-names", level).queue(name);
        let deadline = Deadline::after(HUNG);
        let published = broker.publish(message(&topic, "x"), level, deadline).await;
        let subscribed = broker.subscribe(&topic).await.map(drop);
        let queued = broker.subscribe(&queue).await.map(drop);
        let results = [
            ("publish to", published),
            ("subscribe to", subscribed),
            ("subscribe with the queue", queued),
        ];
        for (what, result) in results {
            let found = result.map_err(|error| error.kind());
            if found != Err(ErrorKind::Config) {
                return Err(format!(
                    "{what} {name:?}: expected an error of kind Config, found {found:?}"
                ));
            }
        }
    }
    Ok(())
}
