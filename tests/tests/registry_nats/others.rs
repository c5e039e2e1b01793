//! What others say on the same subjects: go-micro's plugins for v2 and v4, and whoever else may publish there.

use std::time::Duration;

use micro_runtime::registry::{Action, Nats, Registry};
use tokio::time::{Instant, timeout};

use micro_tests::expect::{follow, ids, service};
use micro_tests::nats::Raw;
use micro_tests::nats::{Hub, NEW, OLD};

const SOON: Duration = Duration::from_secs(3);
const TTL: Duration = Duration::from_secs(90);

const QUERIES: [&str; 2] = ["micro.nats.query", "micro.registry.nats.query"];
const WATCHES: [&str; 2] = ["micro.nats.watch", "micro.registry.nats.watch"];

fn json(id: &str) -> String {
    format!(
        r#"{{"name":"a","version":"latest","metadata":null,"endpoints":null,"nodes":[{{"id":"{id}","address":"127.0.0.1:7","metadata":null}}]}}"#
    )
}

fn event(action: &str, id: &str) -> Vec<u8> {
    format!(r#"{{"Action":"{action}","Service":{}}}"#, json(id)).into_bytes()
}

/// Either family's questions are answered, once; ours reach each, and its answers us.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_families_ask_and_answer() {
    for program in [NEW, OLD] {
        let hub = Hub::start(program).await;
        let ours = hub.registry();
        ours.register(&service("a", "ours", 1), TTL).await.unwrap();
        for subject in QUERIES {
            let mut raw = Raw::connect(&hub.address()).await;
            raw.subscribe("inbox", 1).await;
            for (question, answers) in [
                (
                    r#"{"Action":"get","Service":{"name":"a","version":"","metadata":null,"endpoints":null,"nodes":null}}"#,
                    true,
                ),
                (r#"{"Action":"list","Service":null}"#, true),
                (r#"{"Action":"get","Service":{"name":"b"}}"#, false),
                (r#"{"Action":"get","Service":null}"#, false),
            ] {
                raw.ask(subject, "inbox", question.as_bytes()).await;
                if answers {
                    let (_, _, answer) = raw.message().await;
                    assert_eq!(answer["name"], "a");
                    assert_eq!(answer["nodes"][0]["id"], "ours");
                }
                assert!(
                    raw.is_silent(Duration::from_millis(200)).await,
                    "{question}"
                );
            }
        }
        // A node that knows one family alone.
        for (number, subject) in QUERIES.into_iter().enumerate() {
            let mut raw = Raw::connect(&hub.address()).await;
            raw.subscribe(subject, 1).await;
            let asked = tokio::spawn({
                let ours = ours.clone();
                async move { ids(&ours, "a").await }
            });
            let (_, reply, question) = raw.message().await;
            assert_eq!(
                (&question["Action"], &question["Service"]["name"]),
                (&"get".into(), &"a".into())
            );
            let id = format!("raw-{number}");
            raw.publish(&reply, json(&id).as_bytes()).await;
            raw.publish(&reply, json(&id).as_bytes()).await;
            assert_eq!(asked.await.unwrap().unwrap(), ["ours", &id]);
        }
    }
}

/// What one family tells is heard, and both hear what we tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_families_tell_and_listen() {
    let hub = Hub::start(NEW).await;
    let (ours, theirs) = (hub.registry(), hub.registry());
    let mut watcher = theirs.watch(Some("a")).await.unwrap();
    for subject in WATCHES {
        let mut known = Vec::new();
        let mut raw = Raw::connect(&hub.address()).await;
        raw.subscribe(subject, 1).await;
        ours.register(&service("a", "ours", 1), TTL).await.unwrap();
        let (_, _, told) = raw.message().await;
        assert_eq!(
            (&told["Action"], &told["Service"]["nodes"][0]["id"]),
            (&"create".into(), &"ours".into())
        );
        follow(&mut watcher, &mut known, &["ours"], SOON).await;
        raw.publish(subject, &event("create", "raw")).await;
        raw.publish(subject, &event("update", "raw")).await;
        follow(&mut watcher, &mut known, &["ours", "raw"], SOON).await;
        raw.publish(subject, &event("delete", "raw")).await;
        follow(&mut watcher, &mut known, &["ours"], SOON).await;
        ours.deregister(&service("a", "ours", 1)).await.unwrap();
        // Once on each subject, heard once.
        let actions = follow(&mut watcher, &mut known, &[], SOON).await;
        assert_eq!(actions, [Action::Delete]);
        assert!(
            timeout(Duration::from_millis(200), watcher.next())
                .await
                .is_err()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_passed_over() {
    let hub = Hub::start(NEW).await;
    let (ours, theirs) = (hub.registry(), hub.registry());
    ours.register(&service("a", "ours", 1), TTL).await.unwrap();
    let mut watcher = theirs.watch(None).await.unwrap();
    let mut known = vec!["ours".to_owned()];
    let mut raw = Raw::connect(&hub.address()).await;
    let long = vec![b'['; 1_000_000];
    let flood = format!(
        r#"{{"Action":"create","Service":{{"name":"a","nodes":[{}{{}}]}}}}"#,
        "{},".repeat(100_000)
    );
    let garbage = [
        &b""[..],
        b"\0\xff",
        b"null",
        b"[]",
        b"{",
        br#"{"Action":1,"Service":2}"#,
        br#"{"Action":"create","Service":null}"#,
        br#"{"Action":"create","Service":{"name":""}}"#,
        br#"{"Action":"get","Service":{"name":1}}"#,
        br#"{"Action":"delete","Service":{"name":"a","nodes":[{"id":7}]}}"#,
        br#"{"Action":"create","Service":{"name":"a","nodes":[]},"also_on":7}"#,
        &long,
    ];
    for subject in QUERIES.into_iter().chain(WATCHES) {
        for payload in garbage {
            raw.publish(subject, payload).await;
            raw.ask(subject, "nowhere", payload).await;
            // Whose answer would be a question.
            raw.ask(subject, subject, payload).await;
        }
    }
    raw.publish(WATCHES[0], flood.as_bytes()).await;
    raw.publish(WATCHES[0], &event("create", "good")).await;
    raw.flush().await;
    follow(&mut watcher, &mut known, &["", "good", "ours"], SOON).await;
    assert_eq!(ids(&theirs, "a").await.unwrap(), ["ours"]);
    // Questions whose answers are thrown back at everybody end nothing.
    for subject in QUERIES {
        raw.ask(subject, subject, br#"{"Action":"list"}"#).await;
        raw.ask(subject, WATCHES[0], br#"{"Action":"list"}"#).await;
    }
    raw.flush().await;
    assert_eq!(ids(&theirs, "a").await.unwrap(), ["ours"]);
}

/// Garbage as the answer to a question.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_answers_are_passed_over() {
    let hub = Hub::start(NEW).await;
    let theirs = hub.registry();
    let mut raw = Raw::connect(&hub.address()).await;
    raw.subscribe(QUERIES[0], 1).await;
    let asked = tokio::spawn(async move { theirs.get("a").await });
    let (_, reply, _) = raw.message().await;
    for answer in [
        "",
        "null",
        "{}",
        r#"{"name":"b"}"#,
        r#"{"name":"a","nodes":{}}"#,
        &json("good"),
        "[[[",
    ] {
        raw.publish(&reply, answer.as_bytes()).await;
    }
    let services = asked.await.unwrap().unwrap();
    assert_eq!(services.len(), 1);
    assert_eq!(services[0].nodes[0].id, "good");
}

/// Nobody listens: the server says so, and the answer is there before the window ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_is_known_at_once() {
    let hub = Hub::start(NEW).await;
    let theirs = hub.registry().window(Duration::from_secs(4));
    assert!(theirs.get("a").await.unwrap().is_empty());
    let begun = Instant::now();
    assert!(theirs.list().await.unwrap().is_empty());
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_tokens() {
    let hub = Hub::with(NEW, &["--user", "me", "--pass", "s3cr@t"]).await;
    let address = hub.address();
    let good = Nats::new([format!("nats://me:s3cr%40t@{address}")]);
    good.register(&service("a", "a-1", 1), TTL).await.unwrap();
    let set = Nats::new([&address]).credentials("me", "s3cr@t");
    assert_eq!(ids(&set, "a").await.unwrap(), ["a-1"]);
    let limit = Duration::from_millis(700);
    for bad in [
        Nats::new([&address]),
        Nats::new([format!("nats://me:wr0ng@{address}")]),
        Nats::new([&address]).token("wr0ng"),
    ] {
        let bad = bad.timeout(limit);
        let error = bad.get("a").await.unwrap_err().to_string();
        assert!(error.contains("authorization violation"), "{error}");
        assert!(
            !error.contains("wr0ng") && !format!("{bad:?}").contains("wr0ng"),
            "{error}"
        );
    }
    let hub = Hub::with(OLD, &["--auth", "t0ken"]).await;
    let good = Nats::new([format!("nats://t0ken@{}", hub.address())]);
    good.register(&service("a", "a-1", 1), TTL).await.unwrap();
    let set = hub.registry().token("t0ken");
    assert_eq!(ids(&set, "a").await.unwrap(), ["a-1"]);
}

/// Fleets that have subjects of their own do not see the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subjects_keep_fleets_apart() {
    let hub = Hub::start(NEW).await;
    let ours = || hub.registry().subjects("ours.query", "ours.watch");
    let (one, two) = (ours(), ours());
    one.register(&service("a", "a-1", 1), TTL).await.unwrap();
    assert_eq!(ids(&two, "a").await.unwrap(), ["a-1"]);
    assert!(hub.registry().get("a").await.unwrap().is_empty());
    let error = hub
        .registry()
        .subjects("a.*", "b")
        .get("a")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("expected a NATS subject"),
        "{error}"
    );
}
