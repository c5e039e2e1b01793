//! Users, several members.

use std::time::Duration;

use micro_runtime::registry::{Etcd, Registry};
use micro_tests::servers::{Server, free_ports};
use tokio::time::Instant;

use crate::kit::{Member, VERSIONS, View, ctl, healthy, nodes, program, service, until};

const TTL: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_passwords() {
    for version in VERSIONS {
        let mut etcd = Member::start(version).await;
        let address = etcd.address();
        // Without users on the server, ours are nobody's matter.
        let early = Etcd::new([&address]).credentials("micro", "s3cr3t");
        early
            .register(&service("a", "early", 1), TTL)
            .await
            .unwrap();
        let mut view = View::of(&early, "a").await;
        etcd.ctl(&["user", "add", "root:pw"]).await;
        etcd.ctl(&["user", "grant-role", "root", "root"]).await;
        etcd.ctl(&["role", "add", "registry"]).await;
        etcd.ctl(&[
            "role",
            "grant-permission",
            "--prefix",
            "registry",
            "readwrite",
            "/micro/registry/",
        ])
        .await;
        etcd.ctl(&["user", "add", "micro:s3cr3t"]).await;
        etcd.ctl(&["user", "grant-role", "micro", "registry"]).await;
        etcd.ctl(&["user", "add", "stranger:pw"]).await;
        etcd.ctl(&["auth", "enable"]).await;

        // Users came while it ran: it finds out, and fetches a token.
        early
            .register(&service("a", "early", 2), TTL)
            .await
            .unwrap();
        let ours = Etcd::new([format!("etcd://micro:s3cr3t@{address}")]);
        ours.register(&service("a", "1", 1), TTL).await.unwrap();
        let truth = nodes(&ours, "a").await;
        assert_eq!(truth.len(), 2);
        view.becomes(&truth).await;
        let mut view = View::of(&ours, "a").await;

        for (registry, why) in [
            (Etcd::new([&address]), "user name is empty"),
            (
                Etcd::new([&address]).credentials("micro", "wrong"),
                "authentication failed",
            ),
            (
                Etcd::new([&address]).credentials("stranger", "pw"),
                "permission denied",
            ),
        ] {
            let error = registry.get("a").await.unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert!(!error.contains("wrong") && !format!("{registry:?}").contains("s3cr3t"));
            let error = registry.watch(Some("a")).await.unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            let error = registry
                .register(&service("a", "no", 1), TTL)
                .await
                .unwrap_err()
                .to_string();
            assert!(error.contains(why), "{error}");
        }

        // A restart forgets the tokens that the server had given.
        etcd.server.restart().await;
        let begun = Instant::now();
        let others = Etcd::new([&address]).credentials("micro", "s3cr3t");
        until(&others, "a", 2).await;
        others.register(&service("a", "2", 1), TTL).await.unwrap();
        ours.register(&service("a", "3", 1), TTL).await.unwrap();
        let truth = nodes(&ours, "a").await;
        assert_eq!(truth.len(), 4);
        view.becomes(&truth).await;
        println!(
            "{version}: all is well {:?} after a restart with users",
            begun.elapsed()
        );

        // A user who may read no more: the watch says so, and goes on when it may again.
        let root = Some("root:pw");
        ctl(
            &address,
            root,
            &["user", "revoke-role", "micro", "registry"],
        )
        .await;
        let error = ours.get("a").await.unwrap_err().to_string();
        assert!(error.contains("permission denied"), "{error}");
        ctl(&address, root, &["user", "grant-role", "micro", "registry"]).await;
        until(&ours, "a", 4).await;
        ours.deregister(&service("a", "3", 1)).await.unwrap();
        view.becomes(&nodes(&ours, "a").await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_member_among_the_addresses_costs_a_moment() {
    let etcd = Member::start("etcd-3.6").await;
    let [dead] = free_ports();
    // Refused at once, and an address of a test network that swallows everything.
    for wrong in [format!("127.0.0.1:{dead}"), "192.0.2.1:2379".to_owned()] {
        let ours = Etcd::new([wrong.clone(), etcd.address()]);
        let begun = Instant::now();
        ours.register(&service("a", "1", 1), TTL).await.unwrap();
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "{wrong}: {:?}",
            begun.elapsed()
        );
        assert_eq!(nodes(&ours, "a").await.len(), 1);
    }
    let error = Etcd::new([format!("127.0.0.1:{dead}")])
        .get("a")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains(&format!("127.0.0.1:{dead}")),
        "{error}"
    );
}

/// Three members; the one that is used is killed, then hangs, then comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_three_loses_members() {
    let ports: [u16; 6] = free_ports();
    let clients = &ports[..3];
    let cluster: Vec<_> = (0..3)
        .map(|n| format!("m{n}=http://127.0.0.1:{}", ports[3 + n]))
        .collect();
    let mut members: Vec<Server> = Vec::new();
    let start = |n: usize| {
        let program = program("etcd-3.6", &format!("m{n}"), ports[n], ports[3 + n]);
        program
            .args(["--initial-cluster", &cluster.join(",")])
            .args(["--heartbeat-interval", "100", "--election-timeout", "1000"])
            .start(healthy(ports[n]))
    };
    // A member is ready when two of them have found each other.
    let (a, b, c) = tokio::join!(start(0), start(1), start(2));
    members.extend([a, b, c]);
    let addresses: Vec<_> = clients
        .iter()
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();

    let ours = Etcd::new(addresses.clone());
    let theirs = Etcd::new(addresses.clone());
    ours.register(&service("a", "1", 1), TTL).await.unwrap();
    let mut view = View::of(&theirs, "a").await;

    members[0].kill9().await;
    let begun = Instant::now();
    ours.register(&service("a", "2", 2), TTL).await.unwrap();
    let truth = nodes(&theirs, "a").await;
    view.becomes(&truth).await;
    println!("a killed member cost {:?}", begun.elapsed());
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );

    members[0].restart().await;
    members[1].pause();
    let begun = Instant::now();
    ours.register(&service("a", "3", 3), TTL).await.unwrap();
    let mut truth = truth;
    truth.insert("a-3".to_owned(), "127.0.0.1:3".to_owned());
    view.becomes(&truth).await;
    println!("a member that hangs cost {:?}", begun.elapsed());
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(nodes(&theirs, "a").await, truth);
    members[1].resume();

    // Without a majority nothing can be written, but what is known can be read.
    members[1].kill9().await;
    members[2].kill9().await;
    ours.register(&service("a", "4", 4), TTL).await.unwrap_err();
    assert_eq!(nodes(&ours, "a").await, truth);
    members[1].restart().await;
    truth.insert("a-4".to_owned(), "127.0.0.1:4".to_owned());
    view.becomes(&truth).await;
}
