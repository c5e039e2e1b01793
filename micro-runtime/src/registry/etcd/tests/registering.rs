//! Leases, keys, and what becomes of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, advance, sleep, timeout};

use super::script::Script;
use super::{TTL, service, shown, value};
use crate::registry::{Endpoint, Registry, Service};
use crate::status::Status;

const KEY: &str = "/micro/registry/a/a-1";

/// Waits until the store has so many keys; how long that took.
async fn keys(script: &Script, count: usize) -> Duration {
    let begun = Instant::now();
    let wait = async {
        while script.state().keys.len() != count {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(600), wait)
        .await
        .expect("it never happens");
    begun.elapsed()
}

fn lease(script: &Script) -> i64 {
    script.state().keys[KEY.as_bytes()].lease
}

#[tokio::test(start_paused = true)]
async fn a_node_has_go_micros_key_and_a_lease_that_is_renewed_at_a_third() {
    let script = Script::default();
    let registry = script.registry(1);
    assert!(
        script.dials() == 0,
        "nothing connects before the first call"
    );
    let mut unversioned = service("a", "a-1", 1);
    unversioned.version.clear();
    registry.register(&unversioned, TTL).await.unwrap();
    sleep(Duration::from_millis(1)).await;
    assert_eq!(
        script.log(),
        [
            "0 grant 90",
            "0 put /micro/registry/a/a-1",
            "0 watch /micro/registry/a/a-1 from 3"
        ]
    );
    let text = script.state().keys[KEY.as_bytes()].value.clone();
    let stored: Service = serde_json::from_slice(&text).unwrap();
    assert_eq!((&*stored.version, &*stored.nodes[0].id), ("latest", "a-1"));
    assert_eq!(lease(&script), 1);
    // A third of 90 s, a fifth more or less.
    advance(Duration::from_secs(23)).await;
    sleep(Duration::from_millis(1)).await;
    assert!(script.log().is_empty());
    sleep(Duration::from_secs(14)).await;
    assert_eq!(script.log(), ["0 renew 1", "0 range /micro/registry/a/a-1"]);
    // Registered anew, it lives on.
    for _ in 0..10 {
        registry.register(&unversioned, TTL).await.unwrap();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(shown(registry.get("a").await), ["a-1 10.0.0.1:1"]);
    }
    assert_eq!(
        (lease(&script), script.count("put"), script.dials()),
        (1, 0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_not_registered_anew_is_over_with_its_ttl() {
    let script = Script::default();
    let registry = script.registry(1);
    let begun = Instant::now();
    registry
        .register(&service("a", "a-1", 1), TTL)
        .await
        .unwrap();
    registry
        .register(&service("b", "b-1", 1), Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(script.state().keys[&b"/micro/registry/b/b-1"[..]].lease, 0);
    registry
        .register(&service("c", "c-1", 1), Duration::MAX)
        .await
        .unwrap();
    keys(&script, 2).await;
    assert_eq!(begun.elapsed().as_secs(), 90);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(script.state().leases.len(), 1, "the lease is ended too");
    sleep(Duration::from_secs(86_400 * 10)).await;
    assert_eq!(
        shown(registry.list().await),
        ["b-1 10.0.0.1:1", "c-1 10.0.0.1:1"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_finds_no_lease_registers_again_at_once() {
    let script = Script::default();
    let registry = script.registry(1);
    registry
        .register(&service("a", "a-1", 1), TTL)
        .await
        .unwrap();
    // Nobody is told; the key stays, without what it hangs on.
    script.state().leases.clear();
    sleep(Duration::from_secs(37)).await;
    assert_eq!(lease(&script), 2);
    let log = script.log();
    let again = ["0 renew 1", "0 grant 90", "0 put /micro/registry/a/a-1"];
    assert!(log.windows(3).any(|three| three == again), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_and_a_removed_key_are_back_at_once() {
    let script = Script::default();
    let registry = script.registry(1);
    registry
        .register(&service("a", "a-1", 1), Duration::from_secs(3600))
        .await
        .unwrap();
    sleep(Duration::from_secs(60)).await;
    script.revoke(1);
    let took = keys(&script, 1).await;
    assert!(took < Duration::from_millis(10), "{took:?}");
    assert_eq!(lease(&script), 2);
    sleep(Duration::from_secs(60)).await;
    script.delete(KEY);
    let took = keys(&script, 1).await;
    assert!(took < Duration::from_millis(10), "{took:?}");
    assert_eq!(lease(&script), 2, "the lease lives on");
    // Whoever removes it again and again does not make it a storm.
    let begun = Instant::now();
    script.log();
    for _ in 0..10 {
        script.delete(KEY);
        keys(&script, 1).await;
    }
    let took = begun.elapsed().as_secs();
    assert!((9..=12).contains(&took), "{took}");
    assert!(script.count("put") <= 11, "{:?}", script.log());
}

#[tokio::test(start_paused = true)]
async fn changes_are_written_although_the_node_is_the_same() {
    let script = Script::default();
    let registry = script.registry(1);
    let mut service = service("a", "a-1", 1);
    registry.register(&service, TTL).await.unwrap();
    service.endpoints.push(Endpoint {
        name: "A.B".into(),
        ..Endpoint::default()
    });
    registry.register(&service, TTL).await.unwrap();
    assert_eq!(registry.get("a").await.unwrap()[0].endpoints.len(), 1);
    assert_eq!((lease(&script), script.count("put")), (1, 2));
    // So is what somebody else wrote there.
    script.put(KEY, "nonsense");
    assert!(registry.get("a").await.unwrap().is_empty());
    registry.register(&service, TTL).await.unwrap();
    assert_eq!(shown(registry.get("a").await), ["a-1 10.0.0.1:1"]);
    // Another time to live is another lease.
    registry.register(&service, TTL * 2).await.unwrap();
    assert_eq!(lease(&script), 2);
}

#[tokio::test(start_paused = true)]
async fn deregistering_removes_the_key_and_ends_the_lease() {
    let script = Script::default();
    let registry = script.registry(1);
    let mut service = service("a", "a-1", 1);
    service.nodes.extend(super::service("a", "a-2", 2).nodes);
    registry.register(&service, TTL).await.unwrap();
    assert_eq!(script.state().keys.len(), 2);
    registry.deregister(&service).await.unwrap();
    assert!(script.state().keys.is_empty() && script.state().leases.is_empty());
    // That it is not there is no error, and whoever put it there does not matter.
    script.put(KEY, value("a", "a-1", 1));
    registry.deregister(&service).await.unwrap();
    assert!(script.state().keys.is_empty());
    script.log();
    sleep(Duration::from_secs(3600)).await;
    assert!(script.log().is_empty(), "nothing is kept any more");
    registry.register(&service, TTL).await.unwrap();
    assert_eq!(script.state().keys.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_registered_is_made_up_for() {
    let script = Script::default();
    let registry = script.registry(2);
    script.state().down.extend([0, 1]);
    let error = registry
        .register(&service("a", "a-1", 1), TTL)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("etcd at script could not register"),
        "{error}"
    );
    registry
        .register(&service("a", "a-2", 2), TTL)
        .await
        .unwrap_err();
    registry
        .register(&service("a", "a-3", 2), Duration::ZERO)
        .await
        .unwrap_err();
    sleep(Duration::from_secs(30)).await;
    // Taken back in time, it does not appear.
    registry
        .deregister(&service("a", "a-2", 2))
        .await
        .unwrap_err();
    script.state().down.clear();
    let took = keys(&script, 2).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(
        shown(registry.get("a").await),
        ["a-1 10.0.0.1:1", "a-3 10.0.0.1:2"]
    );
    sleep(Duration::from_secs(86_400)).await;
    assert_eq!(script.state().keys.len(), 1, "a-1 is over, a-3 has no end");
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_not_tried_again_and_what_was_there_is() {
    let script = Script::default();
    let registry = script.registry(1);
    let denied = || Status::permission_denied("etcdserver: permission denied");
    script.state().fails.insert("put", vec![denied()]);
    let error = registry
        .register(&service("a", "a-1", 1), TTL)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("permission denied"), "{error}");
    script.log();
    sleep(Duration::from_secs(600)).await;
    assert!(script.log().is_empty());

    registry
        .register(&service("a", "a-1", 1), Duration::from_secs(3600))
        .await
        .unwrap();
    script
        .state()
        .fails
        .insert("put", vec![denied(), denied(), denied()]);
    script.delete(KEY);
    let took = keys(&script, 1).await.as_secs();
    assert!((12..=20).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_etcd_ends_no_registration() {
    let script = Script::default();
    let registry = script.registry(1);
    registry
        .register(&service("a", "a-1", 1), Duration::from_secs(3600))
        .await
        .unwrap();
    script.state().down.insert(0);
    script.cut();
    sleep(Duration::from_secs(600)).await;
    // All is lost, as with a server without a disk.
    {
        let mut state = script.state();
        state.keys.clear();
        state.leases.clear();
        state.down.clear();
        state.revision = 1;
        state.cluster = 8;
    }
    let took = keys(&script, 1).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_last_clone_takes_its_tasks_along() {
    let script = Script::default();
    let registry = script.registry(1);
    let clone = registry.clone();
    registry
        .register(&service("a", "a-1", 1), TTL)
        .await
        .unwrap();
    let mut watcher = registry.watch(None).await.unwrap();
    let core = Arc::downgrade(&registry.running().unwrap().core);
    drop(registry);
    script.put("/micro/registry/b/b-1", value("b", "b-1", 1));
    watcher.next().await.unwrap().unwrap();
    drop(clone);
    assert!(watcher.next().await.is_none());
    sleep(Duration::from_millis(1)).await;
    assert!(core.upgrade().is_none(), "a task still runs");
    script.log();
    sleep(Duration::from_secs(3600)).await;
    assert!(script.log().is_empty());
}

#[test]
fn a_registration_outlives_the_runtime_it_was_made_in() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    };
    let script = Script::default();
    let registry = script.registry(1);
    runtime().block_on(async {
        registry
            .register(&service("a", "a-1", 1), TTL)
            .await
            .unwrap();
    });
    script.revoke(1);
    runtime().block_on(async {
        registry
            .register(&service("a", "a-1", 1), TTL)
            .await
            .unwrap();
        assert_eq!(shown(registry.get("a").await), ["a-1 10.0.0.1:1"]);
        registry.deregister(&service("a", "a-1", 1)).await.unwrap();
    });
}

#[tokio::test]
async fn what_could_never_be_called_is_refused() {
    let script = Script::default();
    let registry = script.registry(1);
    let mut no_nodes = service("a", "a-1", 1);
    no_nodes.nodes.clear();
    for wrong in [service("", "a-1", 1), service("a", "", 1), no_nodes] {
        registry.register(&wrong, TTL).await.unwrap_err();
    }
    assert_eq!(script.dials(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_registers_again_before_a_silent_member_is_given_up_is_done_all_the_same() {
    let script = Script::default();
    let registry = script.registry(2);
    script.state().mute.insert("0 grant".into());
    let node = service("a", "a-1", 1);
    let begun = Instant::now();
    let second = Duration::from_secs(1);
    while timeout(second, registry.register(&node, TTL))
        .await
        .is_err()
    {
        assert!(begun.elapsed() < Duration::from_secs(30), "it never ends");
    }
    // A member that is silent is given up after 2 s.
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(shown(registry.get("a").await), ["a-1 10.0.0.1:1"]);
    // Another wish is not held up by the former.
    script.state().mute.insert("1 put".into());
    let _waiting = timeout(second, registry.register(&service("a", "a-1", 2), TTL)).await;
    script.state().mute.clear();
    registry
        .register(&service("a", "a-1", 3), TTL)
        .await
        .unwrap();
    assert_eq!(shown(registry.get("a").await), ["a-1 10.0.0.1:3"]);
}
