//! What others have written: nodes of go-micro, of earlier sessions, of strangers, and garbage.

use std::time::Duration;

use micro_runtime::registry::{Action, Registry, ZooKeeper};
use tokio::time::sleep;

use crate::raw::Raw;
use crate::server::{Keeper, SESSION};
use micro_tests::expect::{follow, ids, service, until};

const SOON: Duration = Duration::from_secs(3);

fn json(id: &str, port: u16) -> Vec<u8> {
    format!(
        r#"{{"name":"a","version":"latest","metadata":null,"endpoints":null,"nodes":[{{"id":"{id}","address":"127.0.0.1:{port}","metadata":null}}]}}"#
    )
    .into_bytes()
}

async fn go_wrote(raw: &mut Raw, id: &str) {
    raw.create("/micro-registry", b"").await;
    raw.create("/micro-registry/a", b"").await;
    raw.create(&format!("/micro-registry/a/{id}"), &json(id, 7))
        .await;
}

/// A process that starts again with its id takes over the node of the one before, and keeps it when that one's
/// session ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_session_is_taken_over() {
    let keeper = Keeper::start().await;
    let (before, now, theirs) = (keeper.registry(), keeper.registry(), keeper.registry());
    let node = service("a", "a-1", 1);
    before.register(&node, Duration::ZERO).await.unwrap();
    let mut watcher = theirs.watch(Some("a")).await.unwrap();
    now.register(&node, Duration::ZERO).await.unwrap();
    drop(before);
    sleep(2 * SESSION).await;
    assert_eq!(theirs.get("a").await.unwrap(), std::slice::from_ref(&node));
    // Replaced in one transaction, with the same data: nobody has seen anything.
    let next = service("a", "a-2", 2);
    now.register(&next, Duration::ZERO).await.unwrap();
    let event = watcher.next().await.unwrap().unwrap();
    assert_eq!((event.action, event.service), (Action::Create, next));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn persistent_nodes_of_go_are_found_and_replaced() {
    let keeper = Keeper::start().await;
    let mut raw = Raw::connect(&keeper.address()).await;
    go_wrote(&mut raw, "a-1").await;
    go_wrote(&mut raw, "a-2").await;
    let (ours, theirs) = (keeper.registry(), keeper.registry());
    assert_eq!(ids(&theirs, "a").await.unwrap(), ["a-1", "a-2"]);
    let listed = theirs.list().await.unwrap();
    assert_eq!((listed.len(), listed[0].nodes.len()), (1, 2));
    // Ours has the same id: it is ephemeral from now on.
    let node = service("a", "a-1", 1);
    ours.register(&node, Duration::ZERO).await.unwrap();
    let found = theirs.get("a").await.unwrap();
    assert_eq!(found[0].nodes[0], node.nodes[0]);
    drop(ours);
    until(SOON, vec!["a-2".to_owned()], async || {
        ids(&theirs, "a").await
    })
    .await;
    // What is no longer anybody's can be taken out.
    theirs.deregister(&service("a", "a-2", 7)).await.unwrap();
    assert!(ids(&theirs, "a").await.unwrap().is_empty());
}

/// Data that are no service, directories where nodes are expected, nodes where directories are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_passed_over() {
    let keeper = Keeper::start().await;
    let mut raw = Raw::connect(&keeper.address()).await;
    let theirs = keeper.registry();
    go_wrote(&mut raw, "good").await;
    let mut watcher = theirs.watch(None).await.unwrap();
    let mut known = vec!["good".to_owned()];
    let long = vec![b'['; 900_000];
    for (name, data) in [
        ("empty", &b""[..]),
        ("null", b"null"),
        ("binary", b"\xff\xfe\x00"),
        ("half", br#"{"name":"a","nodes":[{"id":"#),
        ("wrong", br#"{"name":1,"nodes":{}}"#),
        ("nameless", br#"{"nodes":[{"id":"x","address":"h:1"}]}"#),
        ("long", &long),
    ] {
        raw.create(&format!("/micro-registry/a/{name}"), data).await;
        raw.create(&format!("/micro-registry/{name}"), data).await;
    }
    raw.create("/micro-registry/a/good/deeper", &json("deeper", 1))
        .await;
    // Another service in the directory that this one's name leads to.
    raw.create("/micro-registry/x-y", b"").await;
    let data = String::from_utf8(json("slash", 1)).unwrap();
    raw.create(
        "/micro-registry/x-y/slash",
        data.replace(r#""a""#, r#""x/y""#).as_bytes(),
    )
    .await;
    raw.create(
        "/micro-registry/x-y/dash",
        data.replace(r#""a""#, r#""x-y""#).as_bytes(),
    )
    .await;
    assert_eq!(ids(&theirs, "a").await.unwrap(), ["good"]);
    assert_eq!(theirs.get("x/y").await.unwrap().len(), 1);
    assert_eq!(theirs.get("x-y").await.unwrap().len(), 1);
    assert_eq!(theirs.list().await.unwrap().len(), 3);
    for name in ["", ".", "..", "\0", "no/such", "../zookeeper"] {
        assert!(theirs.get(name).await.unwrap().is_empty(), "{name:?}");
    }
    go_wrote(&mut raw, "last").await;
    let expected = ["good", "last", "slash"];
    follow(&mut watcher, &mut known, &expected, SOON).await;
    // A good one that turns bad is gone; one that turns good is there.
    raw.write("/micro-registry/a/last", b"{").await;
    raw.write("/micro-registry/a/half", &json("half", 1)).await;
    follow(&mut watcher, &mut known, &["good", "half", "slash"], SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_user_registers_is_theirs() {
    let keeper = Keeper::start().await;
    let address = keeper.address();
    let user = || ZooKeeper::new([format!("zk://me:s3cr3t@{address}")]).session_timeout(SESSION);
    let (ours, same) = (user(), user());
    let other = keeper.registry().credentials("me", "wrong");
    let nobody = keeper.registry();
    let node = service("a", "a-1", 1);
    ours.register(&node, Duration::ZERO).await.unwrap();
    for registry in [&same, &other, &nobody] {
        assert_eq!(
            registry.get("a").await.unwrap(),
            std::slice::from_ref(&node)
        );
    }
    for registry in [&other, &nobody] {
        for error in [
            registry.deregister(&node).await.unwrap_err(),
            registry.register(&node, Duration::ZERO).await.unwrap_err(),
            registry
                .register(&service("a", "a-2", 2), Duration::ZERO)
                .await
                .unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(
                text.contains(
                    "not authorized (NoAuth); the nodes of go-micro's registry are guarded"
                ),
                "{text}"
            );
        }
    }
    // What was refused is not kept for later.
    assert_eq!(ids(&nobody, "a").await.unwrap(), ["a-1"]);
    same.register(&service("a", "a-2", 2), Duration::ZERO)
        .await
        .unwrap();
    same.deregister(&node).await.unwrap();
    assert_eq!(ids(&nobody, "a").await.unwrap(), ["a-2"]);
    assert!(!format!("{ours:?}").contains("s3cr3t"));
}
