//! Members, tokens, pages: how a question finds its answer.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::script::Script;
use super::{TTL, service, shown, value};
use crate::error::ErrorKind;
use crate::registry::{Etcd, Registry};
use crate::status::Status;

fn filled() -> Script {
    let script = Script::default();
    script.put("/micro/registry/a/a-1", value("a", "a-1", 1));
    script
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_none_is_told_by_every_call() {
    let registry = Etcd::new(["zk://10.0.0.7"])
        .credentials("me", "s3cr3t")
        .prefix("/x");
    assert!(Etcd::try_new(["zk://10.0.0.7"]).is_err());
    for error in [
        registry.get("a").await.unwrap_err(),
        registry.list().await.unwrap_err(),
        registry.watch(None).await.unwrap_err(),
        registry
            .register(&service("a", "a-1", 1), TTL)
            .await
            .unwrap_err(),
        registry
            .deregister(&service("a", "a-1", 1))
            .await
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("zk"), "{error}");
    }
    let shown = format!("{:?}", Etcd::new(["me:s3cr3t@10.0.0.7"]));
    assert!(
        shown.contains("10.0.0.7:2379") && !shown.contains("s3cr3t"),
        "{shown}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_comes_is_asked_of_another_member() {
    let script = filled();
    let registry = script.registry(2);
    script.state().mute.insert("0 range".into());
    let begun = Instant::now();
    assert_eq!(shown(registry.get("a").await), ["a-1 10.0.0.1:1"]);
    assert_eq!(begun.elapsed().as_secs(), 2);
    // From then on it is the second one that is asked.
    assert_eq!(shown(registry.get("a").await), ["a-1 10.0.0.1:1"]);
    assert_eq!(begun.elapsed().as_secs(), 2);
    script.state().mute.insert("1 range".into());
    let begun = Instant::now();
    let error = registry.get("a").await.unwrap_err();
    assert_eq!(begun.elapsed().as_secs(), 4, "{error}");
    assert_eq!(error.kind(), ErrorKind::Registry);
}

#[tokio::test(start_paused = true)]
async fn members_that_are_down_are_passed_over() {
    let script = filled();
    let registry = script.registry(3);
    script.state().down.extend([0, 1]);
    let begun = Instant::now();
    assert_eq!(shown(registry.get("a").await), ["a-1 10.0.0.1:1"]);
    assert_eq!((begun.elapsed(), script.dials()), (Duration::ZERO, 3));
    script.state().down.extend([2]);
    script.cut();
    let error = registry.get("a").await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    // Who asks again within a moment gets the same answer, without a storm of dials.
    let dials = script.dials();
    for _ in 0..10 {
        registry.get("a").await.unwrap_err();
    }
    assert_eq!(script.dials(), dials);
    script.state().down.clear();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(shown(registry.get("a").await), ["a-1 10.0.0.1:1"]);
}

#[tokio::test(start_paused = true)]
async fn a_member_without_its_cluster_is_left_for_another() {
    let script = filled();
    let registry = script.registry(2);
    let lost = || Status::unavailable("etcdserver: no leader");
    script.state().fails.insert("grant", vec![lost()]);
    registry
        .register(&service("a", "a-2", 2), TTL)
        .await
        .unwrap();
    let log = script.log();
    assert_eq!(log[..2], ["0 grant 90", "1 grant 90"], "{log:?}");
    // What all of them refuse is an error after each was asked, the first one twice.
    script
        .state()
        .fails
        .insert("delete", vec![lost(), lost(), lost(), lost()]);
    registry
        .deregister(&service("a", "a-2", 2))
        .await
        .unwrap_err();
    assert_eq!(script.state().fails["delete"].len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_token_is_fetched_for_all_and_another_when_it_is_too_old() {
    let script = filled();
    script.state().token = Some("first".into());
    let registry = script.registry_as(1, Some(("me", "s3cr3t")));
    let ask = async || {
        let mut asks = JoinSet::new();
        for _ in 0..20 {
            let registry = registry.clone();
            asks.spawn(async move { shown(registry.get("a").await) });
        }
        for nodes in asks.join_all().await {
            assert_eq!(nodes, ["a-1 10.0.0.1:1"]);
        }
    };
    ask().await;
    assert_eq!((script.count("authenticate"), script.dials()), (1, 1));
    script.state().token = Some("second".into());
    ask().await;
    assert_eq!(script.count("authenticate"), 2);
    // One that is refused although it is new is not fetched for ever.
    let refused = || Status::unauthenticated("etcdserver: invalid auth token");
    script
        .state()
        .fails
        .insert("range", vec![refused(), refused()]);
    let error = registry.get("a").await.unwrap_err();
    assert!(error.to_string().contains("invalid auth token"), "{error}");
    assert_eq!(script.count("authenticate"), 3);
}

#[tokio::test(start_paused = true)]
async fn users_may_come_and_go_and_a_wrong_password_is_asked_once() {
    let script = filled();
    let registry = script.registry_as(1, Some(("me", "s3cr3t")));
    let nobody = script.registry(1);
    assert_eq!(shown(registry.get("a").await), ["a-1 10.0.0.1:1"]);
    assert_eq!(shown(nobody.get("a").await), ["a-1 10.0.0.1:1"]);
    assert_eq!(script.count("authenticate"), 1);
    script.state().token = Some("token".into());
    assert_eq!(shown(registry.get("a").await), ["a-1 10.0.0.1:1"]);
    assert_eq!(script.count("authenticate"), 2);
    let error = nobody.get("a").await.unwrap_err();
    assert!(error.to_string().contains("user name is empty"), "{error}");

    let wrong = script.registry_as(1, Some(("me", "hunter2")));
    script.log();
    for _ in 0..10 {
        let error = wrong.get("a").await.unwrap_err().to_string();
        assert!(
            error.contains("authentication failed") && !error.contains("hunter2"),
            "{error}"
        );
    }
    assert_eq!(script.count("authenticate"), 1);
}

#[tokio::test(start_paused = true)]
async fn pages_that_are_too_large_are_asked_for_in_halves() {
    let script = Script::default();
    let registry = script.registry(1);
    for node in 0..1100 {
        let id = format!("a-{node:04}");
        script.put(&format!("/micro/registry/a/{id}"), value("a", &id, 1));
    }
    assert_eq!(shown(registry.get("a").await).len(), 1100);
    assert_eq!(script.count("range"), 3);
    script.log();
    script.state().page = 100;
    assert_eq!(shown(registry.get("a").await).len(), 1100);
    // 512, 256, 128 are too many; after each eight pages of 64 it is 128 again, which the last page is less than.
    assert_eq!(script.count("range"), 3 + 8 + 1 + 8 + 1);
    script.log();
    script.state().page = 1;
    assert_eq!(shown(registry.list().await).len(), 1100);
    // One that does not get smaller is an error, not a loop.
    let large = || Status::resource_exhausted("etcdserver: too many requests");
    script
        .state()
        .fails
        .insert("range", (0..20).map(|_| large()).collect());
    registry.get("a").await.unwrap_err();
    assert_eq!(script.state().fails["range"].len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_list_whose_revision_is_compacted_is_begun_again() {
    let script = Script::default();
    let registry = script.registry(1);
    for node in 0..600 {
        script.put(
            &format!("/micro/registry/a/{node}"),
            value("a", &node.to_string(), 1),
        );
    }
    let gone = || Status::out_of_range("etcdserver: mvcc: required revision has been compacted");
    script.state().fails.insert("range", vec![gone()]);
    assert_eq!(shown(registry.get("a").await).len(), 600);
    script
        .state()
        .fails
        .insert("range", (0..9).map(|_| gone()).collect());
    let error = registry.get("a").await.unwrap_err();
    assert!(error.to_string().contains("compacted"), "{error}");
    assert_eq!(script.state().fails["range"].len(), 5);
}

#[tokio::test(start_paused = true)]
async fn values_are_grouped_by_version_and_bad_ones_left_out() {
    let script = Script::default();
    let registry = script.registry(1);
    let mut other = service("a", "a-3", 3);
    other.version = "2".into();
    for (key, value) in [
        ("a/a-1", value("a", "a-1", 1)),
        ("a/a-2", value("a", "a-2", 2)),
        ("a/a-3", serde_json::to_string(&other).unwrap()),
        ("a/a-4", String::new()),
        ("a/a-5", "{\"name\":".into()),
        ("a/a-6", "[]".into()),
        ("a/a-7", value("another", "a-7", 7)),
        ("b-c/1", value("b/c", "1", 1)),
        ("b-c/2", value("b-c", "2", 2)),
    ] {
        script.put(&format!("/micro/registry/{key}"), value);
    }
    let services = registry.get("a").await.unwrap();
    let versions: Vec<_> = services
        .iter()
        .map(|s| (&*s.version, s.nodes.len()))
        .collect();
    assert_eq!(versions, [("1", 2), ("2", 1)]);
    // A slash is a dash in the key; the value says which it is.
    assert_eq!(shown(registry.get("b/c").await), ["1 10.0.0.1:1"]);
    assert_eq!(shown(registry.get("b-c").await), ["2 10.0.0.1:2"]);
    let listed = registry.list().await.unwrap();
    let names: Vec<_> = listed
        .iter()
        .map(|s| format!("{}@{}", s.name, s.version))
        .collect();
    assert_eq!(names, ["a@1", "a@2", "another@1", "b-c@1", "b/c@1"]);
    assert!(registry.get("nobody").await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_page_that_was_too_large_makes_no_small_ones_of_those_behind_it() {
    let script = Script::default();
    for number in 0..2_000 {
        let key = format!("/micro/registry/a/a-{number:04}");
        script.put(&key, value("a", &format!("a-{number:04}"), 1));
    }
    // Down to a page of one.
    let too_large = || Status::resource_exhausted("the message is too large");
    let fails = std::iter::repeat_with(too_large).take(9).collect();
    script.state().fails.insert("range", fails);
    let registry = script.registry(1);
    assert_eq!(shown(registry.get("a").await).len(), 2_000);
    let asked = script.count("range");
    assert!(asked < 100, "{asked}");
}
