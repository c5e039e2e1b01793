//! Watching.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::{Instant, sleep};

use super::fake::Reply;
use super::*;
use crate::registry::Registry;

const LOOK: &str = "GET /v1/health/service/greeter?stale";
const SOON: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

fn says(index: u64, nodes: &str) -> Reply {
    Reply::Say(200, Some(index), health("greeter", nodes))
}

fn late(seconds: u64, reply: Reply) -> Reply {
    Reply::Late(Duration::from_secs(seconds), Box::new(reply))
}

async fn watch(consul: &Consul) -> Watcher {
    consul.watch(Some("greeter")).await.unwrap()
}

/// The time from each request to the next, in milliseconds.
fn gaps(fake: &Fake) -> Vec<u128> {
    let times: Vec<Instant> = fake.asked().into_iter().map(|asked| asked.at).collect();
    times
        .windows(2)
        .map(|pair| pair[1].duration_since(pair[0]).as_millis())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn waits_for_news_and_tells_them() {
    let fake = Fake::script([
        says(100, "a bb"),
        late(200, says(101, "a bb ccc")),
        // The wait is over: the same once more.
        late(310, says(101, "a bb ccc")),
        late(10, says(105, "ccc!")),
        late(10, says(106, "ccc")),
    ]);
    let consul = consul(&fake);
    let mut watcher = watch(&consul).await;
    assert_eq!(next(&mut watcher, SOON).await, "+a,bb");
    assert_eq!(next(&mut watcher, SOON).await, ".");
    assert_eq!(next(&mut watcher, HOUR).await, "+ccc");
    // Two were deregistered, and one turned critical, for a while.
    assert_eq!(next(&mut watcher, HOUR).await, "-a,bb,ccc");
    assert_eq!(next(&mut watcher, HOUR).await, "+ccc");
    let lines = fake.lines("GET");
    assert_eq!(lines[0], LOOK);
    assert_eq!(lines[1], format!("{LOOK}&index=100&wait=5m0s"));
    assert_eq!(lines[2], format!("{LOOK}&index=101&wait=5m0s"));
    assert_eq!(lines[3], format!("{LOOK}&index=101&wait=5m0s"));
    assert_eq!(lines[4], format!("{LOOK}&index=105&wait=5m0s"));
}

#[tokio::test(start_paused = true)]
async fn an_index_that_goes_back_starts_over_and_takes_nothing_away() {
    let fake = Fake::script([
        says(100, "a bb"),
        late(10, says(5, "a")),
        says(7, "a"),
        late(5, says(8, "a ccc")),
    ]);
    let consul = consul(&fake);
    let mut watcher = watch(&consul).await;
    assert_eq!(next(&mut watcher, SOON).await, "+a,bb");
    let begun = Instant::now();
    assert_eq!(next(&mut watcher, HOUR).await, "+ccc");
    let lines = fake.lines("GET");
    assert_eq!(lines[2], LOOK, "5 is not waited on");
    assert_eq!(lines[3], format!("{LOOK}&index=7&wait=5m0s"));
    // What is still missing goes in the end.
    assert_eq!(next(&mut watcher, HOUR).await, "-bb");
    let passed = begun.elapsed().as_secs();
    assert!((95..=105).contains(&passed), "{passed}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_without_an_index_is_asked_ever_more_rarely() {
    for index in [Some(0), None, Some(5)] {
        // 5 for ever, and without a wait.
        let fake = Fake::new(move |_| Reply::Say(200, index, health("greeter", "a")));
        let consul = consul(&fake);
        let mut watcher = watch(&consul).await;
        assert_eq!(next(&mut watcher, SOON).await, "+a");
        assert_eq!(next(&mut watcher, Duration::from_secs(300)).await, ".");
        let count = fake.asked().len();
        assert!((20..=45).contains(&count), "{index:?}: {count}");
    }
}

#[tokio::test(start_paused = true)]
async fn queries_are_no_closer_than_a_tenth_of_a_second() {
    let index = AtomicU64::new(1);
    let fake = Fake::new(move |_| {
        let index = index.fetch_add(1, Ordering::SeqCst);
        says(index, if index.is_multiple_of(2) { "a bb" } else { "a" })
    });
    let consul = consul(&fake);
    let mut watcher = watch(&consul).await;
    let begun = Instant::now();
    let mut events = 0;
    while begun.elapsed() < Duration::from_secs(10) {
        next(&mut watcher, HOUR).await;
        events += 1;
    }
    assert!((70..=130).contains(&events), "{events}");
    assert!(
        gaps(&fake)[1..].iter().all(|gap| *gap >= 79),
        "{:?}",
        gaps(&fake)
    );
}

#[tokio::test(start_paused = true)]
async fn errors_are_told_once_and_take_nothing_away() {
    let fake = Fake::script([
        says(100, "a bb"),
        Reply::Say(500, None, "No cluster leader".into()),
        Reply::Say(200, Some(101), "[{".into()),
        Reply::Cut(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[".to_vec()),
        Reply::Say(200, Some(102), "null and void".into()),
        Reply::Silence,
        says(103, "a bb ccc"),
        late(1, Reply::Say(500, None, "again".into())),
    ]);
    let consul = consul(&fake);
    let mut watcher = watch(&consul).await;
    assert_eq!(next(&mut watcher, SOON).await, "+a,bb");
    let error = next(&mut watcher, HOUR).await;
    assert!(error.starts_with("! consul refused"), "{error}");
    assert_eq!(next(&mut watcher, HOUR).await, "+ccc");
    let error = next(&mut watcher, HOUR).await;
    assert!(error.contains("again"), "{error}");
    // After an error, nothing is waited for.
    let lines = fake.lines("GET");
    assert!(lines[2..7].iter().all(|line| line == LOOK), "{lines:?}");
    let gaps = gaps(&fake);
    assert!(gaps[1] >= 80 && gaps[2] >= 128, "{gaps:?}");
    // What was cut had been sent on a connection that had waited: it is sent once more on a new one.
    assert_eq!(gaps[3], 0);
    assert!(gaps[4] >= 204 && gaps[5] >= 4000, "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_lost_its_memory_takes_nothing_away() {
    let fake = Fake::script([says(100, "a bb ccc")]);
    let consul = consul(&fake);
    let mut watcher = watch(&consul).await;
    assert_eq!(next(&mut watcher, SOON).await, "+a,bb,ccc");
    fake.hears(LOOK, 2).await;
    fake.dies();
    assert!(next(&mut watcher, HOUR).await.starts_with("! "));
    assert_eq!(next(&mut watcher, Duration::from_secs(60)).await, ".");
    let mut index = 3;
    fake.becomes(move |_| {
        index += 1;
        match index {
            4 => says(4, ""),
            5 => late(1, says(5, "a")),
            6 => late(1, says(6, "a bb")),
            _ => Reply::Silence,
        }
    });
    fake.back();
    let back = Instant::now();
    fake.hears(LOOK, fake.lines(LOOK).len() + 1).await;
    assert!(back.elapsed() < Duration::from_secs(3));
    // Two have registered again, the third is really gone.
    assert_eq!(next(&mut watcher, HOUR).await, "-ccc");
    let passed = back.elapsed().as_secs();
    assert!((88..=95).contains(&passed), "{passed}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_cannot_begin_is_an_error() {
    let fake = Fake::script([Reply::Say(403, None, "ACL not found".into())]);
    let error = consul(&fake).watch(Some("a")).await.unwrap_err();
    assert!(error.to_string().contains("ACL not found"), "{error}");
    fake.dies();
    consul(&fake).watch(None).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_with_its_watcher_and_with_its_registry() {
    let fake = Fake::script([says(1, "a"), Reply::Silence, says(1, "a")]);
    let consul = consul(&fake);
    let watcher = watch(&consul).await;
    fake.hears(LOOK, 2).await;
    drop(watcher);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(fake.open(), 0);
    let mut watcher = watch(&consul).await;
    let clone = consul.clone();
    drop(consul);
    assert_eq!(next(&mut watcher, SOON).await, "+a");
    drop(clone);
    assert_eq!(next(&mut watcher, HOUR).await, "end");
    sleep(Duration::from_millis(10)).await;
    assert_eq!(fake.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_holds_up_only_its_own_watch() {
    let index = Arc::new(AtomicU64::new(1));
    let shared = Arc::clone(&index);
    let fake = Fake::new(move |_| {
        let index = shared.fetch_add(1, Ordering::SeqCst);
        says(index, if index.is_multiple_of(2) { "a bb" } else { "a" })
    });
    let consul = consul(&fake);
    let mut watcher = watch(&consul).await;
    // Far more events than the backlog holds.
    sleep(Duration::from_secs(600)).await;
    let asked = fake.asked().len();
    assert!(asked <= 1100, "{asked}");
    // None was lost: they alternate to the end.
    assert_eq!(next(&mut watcher, SOON).await, "+a");
    for _ in 0..600 {
        assert_eq!(next(&mut watcher, HOUR).await, "+bb");
        assert_eq!(next(&mut watcher, HOUR).await, "-bb");
    }
}

#[tokio::test(start_paused = true)]
async fn all_services_are_watched() {
    let step = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&step);
    let fake = Fake::new(move |asked| {
        let waits = asked.line.contains("index=");
        let step = seen.load(Ordering::SeqCst);
        let catalog = asked.line.contains("/catalog/");
        let reply = match (catalog, step) {
            (true, 0) => Reply::Say(200, Some(10), r#"{"consul":[],"greeter":[]}"#.into()),
            (true, _) => Reply::Say(
                200,
                Some(20 + step),
                r#"{"consul":[],"greeter":[],"x":[]}"#.into(),
            ),
            (false, _) if asked.line.contains("/greeter?") => {
                let nodes = if step < 2 { "a" } else { "" };
                says(10 + step, nodes)
            }
            (false, _) if asked.line.contains("/x?") => {
                Reply::Say(200, Some(10 + step), health("x", "y"))
            }
            _ => Reply::Say(200, Some(10 + step), "[]".into()),
        };
        if waits { late(5, reply) } else { reply }
    });
    let consul = consul(&fake);
    let mut watcher = consul.watch(None).await.unwrap();
    assert_eq!(next(&mut watcher, SOON).await, "+a");
    step.store(1, Ordering::SeqCst);
    assert_eq!(next(&mut watcher, HOUR).await, "+y");
    step.store(2, Ordering::SeqCst);
    assert_eq!(next(&mut watcher, HOUR).await, "-a");
    fake.dies();
    assert!(next(&mut watcher, HOUR).await.starts_with("! "));
    assert_eq!(
        next(&mut watcher, Duration::from_secs(10)).await,
        ".",
        "one error of all"
    );
    drop(consul);
    assert_eq!(next(&mut watcher, HOUR).await, "end");
}

#[tokio::test(start_paused = true)]
async fn many_services_share_the_connections() {
    let names: Vec<_> = (0..200).map(|number| format!("\"s{number}\":[]")).collect();
    let names = format!("{{{}}}", names.join(","));
    let fake = Fake::new(move |asked| {
        let wait = if asked.line.contains("wait=2s") {
            2
        } else if asked.line.contains("wait=5m0s") {
            300
        } else {
            0
        };
        if asked.line.contains("/catalog/") {
            return late(wait, Reply::Say(200, Some(5), names.clone()));
        }
        let name = asked.line.split(['/', '?']).nth(4).unwrap_or_default();
        late(wait, Reply::Say(200, Some(5), health(name, "a")))
    });
    let consul = consul(&fake);
    let mut watcher = consul.watch(None).await.unwrap();
    for _ in 0..200 {
        assert_eq!(next(&mut watcher, HOUR).await, "+a");
    }
    for _ in 0..60 {
        sleep(Duration::from_secs(1)).await;
        assert!(fake.open() <= 70, "{}", fake.open());
    }
    // Each had its turn.
    for number in 0..200 {
        let start = format!("GET /v1/health/service/s{number}?stale&index=5");
        let turns = fake.lines(&start).len();
        assert!(turns >= 5, "{number}: {turns}");
    }
}
