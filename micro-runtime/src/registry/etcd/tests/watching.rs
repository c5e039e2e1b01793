//! What a watcher is told, whatever happens to its watch.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::super::pb;
use super::script::Script;
use super::{shown, value};
use crate::registry::{Action, Etcd, Registry, Watcher};

/// A watcher, and what it has told so far.
struct View {
    registry: Etcd,
    watcher: Watcher,
    nodes: BTreeSet<String>,
    errors: usize,
}

impl View {
    async fn of(registry: &Etcd) -> View {
        let watcher = registry.watch(Some("a")).await.unwrap();
        let nodes = shown(registry.get("a").await).into_iter().collect();
        View {
            registry: registry.clone(),
            watcher,
            nodes,
            errors: 0,
        }
    }

    /// Takes events in until there is none for a second, and checks that they made what is true; how many
    /// there were.
    async fn settles(&mut self) -> usize {
        let mut count = 0;
        while let Ok(event) = timeout(Duration::from_secs(1), self.watcher.next()).await {
            let Ok(event) = event.expect("the watch ended") else {
                self.errors += 1;
                continue;
            };
            count += 1;
            for node in event.service.nodes {
                let is_it = |known: &String| known.starts_with(&format!("{} ", node.id));
                self.nodes.retain(|known| !is_it(known));
                if event.action != Action::Delete {
                    self.nodes.insert(format!("{} {}", node.id, node.address));
                }
            }
        }
        let truth: BTreeSet<_> = shown(self.registry.get("a").await).into_iter().collect();
        assert_eq!(self.nodes, truth);
        count
    }
}

fn put(script: &Script, node: &str, port: u16) {
    script.put(&format!("/micro/registry/a/{node}"), value("a", node, port));
}

fn delete(script: &Script, node: &str) {
    script.delete(&format!("/micro/registry/a/{node}"));
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_from_the_lists_revision_on() {
    let script = Script::default();
    let registry = script.registry(1);
    put(&script, "1", 1);
    let mut view = View::of(&registry).await;
    assert_eq!(view.settles().await, 0, "what is there is no event");
    put(&script, "1", 1);
    assert_eq!(view.settles().await, 0, "nor is a renewal");
    put(&script, "1", 2);
    put(&script, "2", 1);
    put(&script, "3", 1);
    delete(&script, "2");
    script.put("/micro/registry/b/1", value("b", "1", 1));
    script.put("/micro/registry/a/bad", "{");
    assert_eq!(view.settles().await, 4);
    script.delete("/micro/registry/a/bad");
    delete(&script, "unknown");
    assert_eq!(view.settles().await, 0);
}

#[tokio::test(start_paused = true)]
async fn pieces_of_a_batch_are_joined() {
    let script = Script::default();
    let registry = script.registry(1);
    for node in 0..50 {
        put(&script, &node.to_string(), 1);
    }
    let mut view = View::of(&registry).await;
    script.state().fragment = 7;
    script.cut();
    for node in 0..50 {
        put(&script, &node.to_string(), 2);
    }
    assert_eq!(view.settles().await, 50);
}

#[tokio::test(start_paused = true)]
async fn a_lost_stream_goes_on_at_the_next_member_without_a_gap() {
    let script = Script::default();
    let registry = script.registry(2);
    let mut view = View::of(&registry).await;
    for round in 0..20_u16 {
        put(&script, "1", round);
        if round % 2 == 0 {
            view.settles().await;
        }
        script.log();
        script.cut();
        put(&script, "2", round);
        view.settles().await;
        let log = script.log();
        assert!(log.iter().any(|line| line.contains("watch")), "{log:?}");
    }
    assert_eq!(view.errors, 0, "another member took over each time");
    // The connection that is gone was to the one, the next is to the other.
    put(&script, "3", 1);
    view.settles().await;
    script.cut();
    sleep(Duration::from_secs(1)).await;
    let next = script.state().revision + 1;
    let log = script.log();
    let watch = log.iter().find(|line| line.contains("watch")).unwrap();
    assert!(
        watch.ends_with(&format!("/micro/registry/a/ from {next}")),
        "{watch}"
    );
    let lists = log
        .iter()
        .filter(|line| line.ends_with("range /micro/registry/a/"))
        .count();
    // The test's own look at the truth is the one.
    assert_eq!(lists, 1, "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_once_and_the_watch_goes_on_after_it() {
    let script = Script::default();
    let registry = script.registry(1);
    put(&script, "1", 1);
    let mut view = View::of(&registry).await;
    script.state().down.insert(0);
    script.cut();
    put(&script, "2", 1);
    sleep(Duration::from_secs(600)).await;
    script.state().down.clear();
    let begun = Instant::now();
    let error = view.watcher.next().await.unwrap().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("etcd at script could not be watched"),
        "{error}"
    );
    let event = view.watcher.next().await.unwrap().unwrap();
    assert_eq!(
        (event.action, &*event.service.nodes[0].id),
        (Action::Create, "2")
    );
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    view.nodes.insert("2 10.0.0.1:1".into());
    view.settles().await;
    // 600 s at 0.8 s and more each are not a storm.
    assert!(script.dials() < 1200, "{}", script.dials());
}

#[tokio::test(start_paused = true)]
async fn compaction_is_made_good_by_a_list() {
    let script = Script::default();
    let registry = script.registry(1);
    for node in ["1", "2", "3"] {
        put(&script, node, 1);
    }
    let mut view = View::of(&registry).await;
    // While the connection is gone.
    script.state().down.insert(0);
    script.cut();
    sleep(Duration::from_secs(10)).await;
    delete(&script, "1");
    put(&script, "2", 2);
    put(&script, "4", 1);
    script.compact();
    script.state().down.clear();
    assert_eq!(view.settles().await, 3);
    // Midway: the answer comes instead of changes.
    script.state().history.clear();
    delete(&script, "2");
    put(&script, "5", 1);
    script.compact();
    let compacted = script.state().compacted;
    script.answer(pb::WatchResponse {
        canceled: true,
        compact_revision: compacted,
        ..pb::WatchResponse::default()
    });
    view.settles().await;
    put(&script, "6", 1);
    assert_eq!(view.settles().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_put_back_from_a_backup_is_believed() {
    let script = Script::default();
    let registry = script.registry(1);
    put(&script, "1", 1);
    let backup = script.backup();
    put(&script, "2", 1);
    put(&script, "1", 2);
    let mut view = View::of(&registry).await;
    script.restore(backup);
    script.cut();
    // Node 2 is gone, node 1 is where it was.
    assert_eq!(view.settles().await, 2);
    put(&script, "3", 1);
    assert_eq!(view.settles().await, 1);
    // Another cluster at the same address, with more revisions.
    {
        let mut state = script.state();
        state.cluster = 8;
        state.revision = 1000;
        state.keys.clear();
    }
    put(&script, "9", 9);
    script.cut();
    assert_eq!(view.settles().await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_watch_is_made_again() {
    let script = Script::default();
    let registry = script.registry(1);
    let mut view = View::of(&registry).await;
    sleep(Duration::from_secs(60)).await;
    let cancel = |reason: &str| pb::WatchResponse {
        canceled: true,
        cancel_reason: reason.into(),
        ..pb::WatchResponse::default()
    };
    script.answer(cancel("the watcher was too slow"));
    put(&script, "1", 1);
    assert_eq!(view.settles().await, 1);
    assert_eq!(view.errors, 1);
    // Refused again and again, it is tried again and again, ever more rarely.
    let denied = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
    script.state().refusals = vec![cancel(denied); 8];
    script.log();
    script.cut();
    put(&script, "2", 1);
    let begun = Instant::now();
    while !script.state().refusals.is_empty() {
        sleep(Duration::from_millis(100)).await;
    }
    assert!(
        (5..60).contains(&begun.elapsed().as_secs()),
        "{:?}",
        begun.elapsed()
    );
    sleep(Duration::from_secs(20)).await;
    view.settles().await;
    assert!(view.errors > 8, "{}", view.errors);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_a_watch_finds_too_old_is_fetched_anew() {
    let script = Script::default();
    script.state().token = Some("first".into());
    let registry = script.registry_as(1, Some(("me", "s3cr3t")));
    let mut view = View::of(&registry).await;
    for token in ["second", "third"] {
        script.state().token = Some(token.into());
        script.cut();
        put(&script, token, 1);
        assert_eq!(view.settles().await, 1);
    }
    script.log();
    // While it stands, too.
    script.state().token = Some("fourth".into());
    script.answer(pb::WatchResponse {
        watch_id: -1,
        canceled: true,
        cancel_reason: "etcdserver: invalid auth token".into(),
        ..pb::WatchResponse::default()
    });
    put(&script, "fourth", 1);
    assert_eq!(view.settles().await, 1);
    assert_eq!(script.count("authenticate"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_seems_well_is_checked_now_and_then() {
    let script = Script::default();
    let registry = script.registry(1);
    put(&script, "1", 1);
    put(&script, "2", 1);
    let mut view = View::of(&registry).await;
    script.log();
    // Something that no watch was told of.
    {
        let mut state = script.state();
        state.keys.remove(&b"/micro/registry/a/1"[..]);
    }
    sleep(Duration::from_secs(230)).await;
    assert_eq!(script.count("range"), 0);
    sleep(Duration::from_secs(140)).await;
    assert_eq!(script.count("range"), 1);
    assert_eq!(view.settles().await, 1);
    put(&script, "3", 1);
    assert_eq!(view.settles().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_does_not_create_the_watch_is_left_for_another() {
    let script = Script::default();
    let registry = script.registry(2);
    script.state().mute.insert("0 watch".into());
    let mut view = View::of(&registry).await;
    put(&script, "1", 1);
    sleep(Duration::from_secs(6)).await;
    assert_eq!(view.settles().await, 1);
    assert_eq!(view.errors, 0);
}

#[tokio::test(start_paused = true)]
async fn answers_that_make_no_sense_do_no_harm() {
    let script = Script::default();
    let registry = script.registry(1);
    put(&script, "1", 1);
    let mut view = View::of(&registry).await;
    sleep(Duration::from_secs(1)).await;
    let odd = |events: Vec<pb::Event>| pb::WatchResponse {
        header: None,
        events,
        ..pb::WatchResponse::default()
    };
    script.answer(odd(Vec::new()));
    script.answer(odd(vec![
        pb::Event {
            r#type: 0,
            kv: None,
        },
        pb::Event {
            r#type: 1,
            kv: None,
        },
        pb::Event {
            r#type: 77,
            kv: Some(pb::KeyValue::default()),
        },
        pb::Event {
            r#type: 1,
            kv: Some(pb::KeyValue {
                key: "/micro/registry/a/never".into(),
                mod_revision: -5,
                ..pb::KeyValue::default()
            }),
        },
    ]));
    put(&script, "2", 1);
    assert_eq!(view.settles().await, 1);
    // The end of all revisions: what comes next is found by the list that comes now and then.
    script.answer(odd(vec![pb::Event {
        r#type: 1,
        kv: Some(pb::KeyValue {
            key: "/micro/registry/a/never".into(),
            mod_revision: i64::MAX,
            ..pb::KeyValue::default()
        }),
    }]));
    sleep(Duration::from_secs(1)).await;
    script.cut();
    put(&script, "3", 1);
    assert_eq!(view.settles().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_does_not_read_holds_up_nobody_else() {
    let script = Script::default();
    let registry = script.registry(1);
    let mut lazy = registry.watch(None).await.unwrap();
    let mut view = View::of(&registry).await;
    for port in 0..3000 {
        put(&script, "1", port);
    }
    assert_eq!(view.settles().await, 3000);
    put(&script, "2", 1);
    view.settles().await;
    // It has missed nothing either.
    for port in 0..3000 {
        let event = lazy.next().await.unwrap().unwrap();
        assert_eq!(event.service.nodes[0].address, format!("10.0.0.1:{port}"));
    }
    drop(lazy);
    sleep(Duration::from_secs(1)).await;
    put(&script, "3", 1);
    view.settles().await;
}
