use super::*;

#[tokio::test(start_paused = true)]
async fn a_closure_takes_messages_and_events() {
    let broker = memory();
    let plain = open(
        &broker,
        Topic::new("t"),
        async |_: Context, text: String| {
            assert!(!text.is_empty());
            Ok(())
        },
    )
    .await;
    let raw = open(&broker, kept(), async |_: Context, event: Event| {
        assert_eq!((event.topic(), event.attempt()), ("t", 1));
        assert!(!event.body().is_empty());
        Ok(())
    })
    .await;
    publish(&broker, ["a", "b"]).await;
    for subscription in [plain, raw] {
        let stats = until(&subscription, |stats| stats.handled == 2).await;
        assert_eq!(
            stats,
            Stats {
                received: 2,
                handled: 2,
                ..Stats::default()
            }
        );
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_run_at_once_than_said_and_one_at_a_time_keeps_the_order() {
    for (concurrency, expected) in [(1, 4000), (3, 2000), (4, 1000), (64, 1000)] {
        let broker = memory();
        let notes = Notes::new();
        let running = Arc::new(Mutex::new((0, 0)));
        let subscription = open(&broker, kept().concurrency(concurrency), {
            let (notes, running) = (notes.clone(), Arc::clone(&running));
            move |_: Context, text: String| {
                let (notes, running) = (notes.clone(), Arc::clone(&running));
                async move {
                    {
                        let mut running = lock(&running);
                        running.0 += 1;
                        running.1 = running.1.max(running.0);
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    lock(&running).0 -= 1;
                    notes.add(text);
                    Ok(())
                }
            }
        })
        .await;
        publish(&broker, ["a", "b", "c", "d"]).await;
        until(&subscription, |stats| stats.handled == 4).await;
        assert_eq!(notes.1.elapsed().as_millis() / 1000 * 1000, expected);
        assert_eq!(lock(&running).1, concurrency.min(4));
        let mut order = notes.all();
        if concurrency > 1 {
            order.sort();
        }
        assert_eq!(order.concat(), "abcd");
    }
}

#[tokio::test(start_paused = true)]
async fn the_members_of_a_queue_share_what_all_others_get() {
    let broker = memory();
    let mut subscriptions = Vec::new();
    for topic in [
        kept(),
        kept(),
        Topic::new("t"),
        Topic::new("t").queue("other"),
    ] {
        let handler = async |_: Context, _: String| {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(())
        };
        subscriptions.push(open(&broker, topic, handler).await);
    }
    publish(&broker, ["a", "b", "c", "d"]).await;
    for (subscription, handled) in subscriptions.iter().zip([2, 2, 4, 4]) {
        until(subscription, |stats| stats.handled == handled).await;
    }
    tokio::time::sleep(LONG).await;
    let handled: Vec<_> = subscriptions.iter().map(|s| s.stats().handled).collect();
    assert_eq!(handled, [2, 2, 4, 4]);
}

#[tokio::test(start_paused = true)]
async fn the_context_has_the_headers_and_is_inherited_by_what_is_published() {
    let broker = memory();
    let notes = Notes::new();
    let next = open(&broker, Topic::new("next"), {
        let notes = notes.clone();
        move |ctx: Context, text: String| {
            let notes = notes.clone();
            async move {
                let user = ctx.metadata().get("x-user").unwrap_or_default();
                let topic = ctx.metadata().get("micro-topic").unwrap_or_default();
                notes.add(format!("{text} of {user} in {topic}, {:?}", ctx.deadline()));
                Ok(())
            }
        }
    })
    .await;
    let publisher_of_next = Publisher::<String>::new(&broker, "next");
    let topic = kept().timeout(Duration::from_secs(3));
    let first = open(&broker, topic, {
        let notes = notes.clone();
        move |ctx: Context, text: String| {
            let (notes, next) = (notes.clone(), publisher_of_next.clone());
            async move {
                let left = ctx.deadline().unwrap().left();
                let mut names: Vec<_> = ctx.metadata().iter().map(|(name, _)| name).collect();
                names.sort_unstable();
                notes.add(format!("{left:?} {}", names.join(" ")));
                assert_eq!(Context::current().unwrap().deadline(), ctx.deadline());
                tokio::spawn(next.publish(&text)).await.unwrap()?;
                Ok(())
            }
        }
    })
    .await;
    publisher(&broker)
        .publish(&"a".to_owned())
        .metadata("x-user", "7")
        .metadata("authorization", "secret")
        .await
        .unwrap();
    until(&next, |stats| stats.handled == 1).await;
    until(&first, |stats| stats.handled == 1).await;
    assert_eq!(
        notes.all(),
        [
            "3s authorization micro-id micro-topic x-user",
            "a of 7 in next, None"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn bodies_are_read_by_their_content_type() {
    let broker = memory();
    let notes = Notes::new();
    let subscription = open(&broker, Topic::new("t"), {
        let notes = notes.clone();
        move |_: Context, text: String| {
            notes.add(text);
            async { Ok(()) }
        }
    })
    .await;
    let hi = |text: &str| format!("hi {text}");
    publisher(&broker).publish(&hi("proto")).await.unwrap();
    publisher(&broker)
        .json()
        .publish(&hi("json"))
        .await
        .unwrap();
    for content_type in [
        None,
        Some("application/grpc+proto"),
        Some("application/grpc"),
    ] {
        let mut message = crate::broker::Message::new("t", &b"\x0a\x02go"[..]);
        if let Some(content_type) = content_type {
            message = message.header("content-type", content_type);
        }
        publisher(&broker).publish_raw(message).await.unwrap();
    }
    until(&subscription, |stats| stats.handled == 5).await;
    assert_eq!(notes.all(), ["hi proto", "hi json", "go", "go", "go"]);
}

#[tokio::test]
async fn what_cannot_be_subscribed_is_said_at_once() {
    let broker = memory();
    let handler = async |_: Context, _: String| Ok(());
    for topic in [
        Topic::new("a b"),
        Topic::new("t").dead_letter("dead"),
        Topic::new("t").batch(10, Duration::ZERO),
    ] {
        let error = subscribe(&broker, topic, handler).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    }
    let outside = std::thread::spawn(move || {
        let handler = async |_: Context, _: String| Ok(());
        subscribe(&broker, Topic::new("t"), handler).unwrap_err()
    });
    let error = outside.join().unwrap();
    assert!(error.to_string().contains("runtime"), "{error}");
}

#[tokio::test]
async fn a_handler_has_a_task_of_its_own_only_if_it_waits() {
    let broker = memory();
    let notes = Arc::new(Mutex::new(Vec::new()));
    let subscription = open(&broker, kept().concurrency(8), {
        let notes = Arc::clone(&notes);
        move |_: Context, text: String| {
            let notes = Arc::clone(&notes);
            async move {
                if text == "waits" {
                    tokio::task::yield_now().await;
                }
                lock(&notes).push((text, tokio::task::id()));
                Ok(())
            }
        }
    })
    .await;
    for (text, count) in [("quick", 1), ("waits", 2), ("quick", 3)] {
        publish(&broker, [text]).await;
        until(&subscription, |stats| stats.handled == count).await;
    }
    let all = lock(&notes).clone();
    let ids: Vec<_> = all.iter().map(|(_, id)| *id).collect();
    assert!(ids[0] == ids[2] && ids[0] != ids[1], "{all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_that_compute_for_long_run_side_by_side() {
    let broker = memory();
    let running = Arc::new(Mutex::new((0, 0)));
    let subscription = open(&broker, kept().concurrency(8), {
        let running = Arc::clone(&running);
        move |_: Context, _: String| {
            let running = Arc::clone(&running);
            async move {
                {
                    let mut running = lock(&running);
                    running.0 += 1;
                    running.1 = running.1.max(running.0);
                }
                // Without an await, as what computes.
                std::thread::sleep(Duration::from_millis(2));
                lock(&running).0 -= 1;
                Ok(())
            }
        }
    })
    .await;
    publish(&broker, ["x"; 50]).await;
    until(&subscription, |stats| stats.handled == 50).await;
    assert_eq!(lock(&running).1, 2, "as many as there are threads");
}
