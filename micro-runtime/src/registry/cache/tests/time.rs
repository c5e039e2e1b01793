//! When it asks: watches that end, registries without one, pauses, and the end of its task.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_is_opened_again_and_what_was_missed_is_found() {
    let (script, entry, _health) = found(&["a"]).await;
    script.set(&["a", "b"]);
    script.end_watches();
    let ended = Instant::now();
    until(&entry, &["a", "b"]).await;
    assert!(
        ended.elapsed() < Duration::from_secs(1),
        "{:?}",
        ended.elapsed()
    );
    sleep(Duration::from_secs(1)).await;
    script.tell(Action::Create, service(&["c"]));
    until(&entry, &["a", "b", "c"]).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_watch_it_looks_from_time_to_time() {
    for watching in [Watching::Unsupported, Watching::Fails] {
        let script = Script::of(&["a"]);
        script.watching(watching);
        let entry = entry(&script);
        find(&entry).await.unwrap();
        script.set(&["a", "b"]);
        let changed = Instant::now();
        until(&entry, &["a", "b"]).await;
        assert!(
            changed.elapsed() <= Duration::from_secs(18),
            "{:?}",
            changed.elapsed()
        );
        let (queries, watches) = (script.queries(), script.watches());
        sleep(Duration::from_secs(120)).await;
        assert!(
            script.queries() - queries <= 11,
            "{}",
            script.queries() - queries
        );
        assert!(
            script.watches() - watches <= 11,
            "{}",
            script.watches() - watches
        );
    }
}

#[tokio::test(start_paused = true)]
async fn queries_never_overlap_whatever_happens() {
    let script = Script::of(&["a"]);
    script.delay(Duration::from_millis(70));
    let entry = entry(&script);
    for round in 0..300 {
        let asking = Arc::clone(&entry);
        tokio::spawn(async move { asking.look_up(soon(), || false).await });
        match round % 7 {
            0 => script.end_watches(),
            2 => script.fail(ErrorKind::Registry),
            3 => script.fail(None),
            _ => {}
        }
        sleep(Duration::from_millis(13)).await;
    }
    assert_eq!(script.0.most_together.load(Ordering::SeqCst), 1);
    assert!(script.queries() < 45, "{}", script.queries());
}

#[tokio::test(start_paused = true)]
async fn refreshes_of_clients_that_started_together_drift_apart() {
    let mut moments = Vec::new();
    for _ in 0..50 {
        let script = Script::of(&["a"]);
        let entry = entry(&script);
        let started = Instant::now();
        find(&entry).await.unwrap();
        script.set(&["a", "b"]);
        until(&entry, &["a", "b"]).await;
        moments.push(started.elapsed().as_millis());
    }
    let (first, last) = (moments.iter().min().unwrap(), moments.iter().max().unwrap());
    assert!(*first >= 48_000 && *last <= 72_001, "{first} {last}");
    assert!(last - first > 8_000, "{first} {last}");
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_last_handle() {
    let (script, entry, _health) = found(&["a"]).await;
    let before = script.queries();
    let inner = Arc::downgrade(&entry.shared);
    drop(entry);
    settle().await;
    assert!(inner.upgrade().is_none(), "the task holds on to it");
    sleep(Duration::from_secs(600)).await;
    assert_eq!(script.queries(), before);
    assert!(script.0.watchers.lock().unwrap()[0].is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_service_nobody_calls_is_left_alone_and_taken_up_again() {
    let (script, entry, _health) = found(&["a"]).await;
    sleep(Duration::from_secs(2 * 3600)).await;
    let asleep = script.queries();
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(script.queries(), asleep, "nobody used it");
    assert!(script.0.watchers.lock().unwrap()[0].is_closed());
    assert_eq!(ids(&entry), ["a"], "what is known stays");
    script.set(&["a", "b"]);
    entry.touch();
    until(&entry, &["a", "b"]).await;
    // In use, it stays awake.
    let watches = script.watches();
    for _ in 0..200 {
        sleep(Duration::from_secs(60)).await;
        entry.touch();
    }
    assert_eq!(
        script.watches(),
        watches,
        "the watch was given up in between"
    );
    script.tell(Action::Create, service(&["c"]));
    until(&entry, &["a", "b", "c"]).await;
}

#[tokio::test(start_paused = true)]
async fn who_asks_of_a_task_that_ends_is_answered_by_another_one() {
    let (script, entry, _health) = found(&["a"]).await;
    script.set(&["a", "b"]);
    script.delay(Duration::from_secs(2));
    let started = Instant::now();
    let looking = entry.look_up(soon(), || entry.view().nodes.len() == 2);
    let ending = async {
        settle().await;
        // As when it goes to sleep, or its runtime ends, just as it is asked.
        lock(&entry.task).as_ref().unwrap().abort.abort();
    };
    tokio::join!(looking, ending).0.unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
}
