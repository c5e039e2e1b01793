//! The registry `zookeeper` against real servers.

mod others;
mod outage;
mod raw;
mod secure;
mod server;

use std::time::Duration;

use micro_runtime::registry::{Registry, ZooKeeper};
use micro_tests::contract::{self, Abilities};

use micro_tests::expect;
use server::Keeper;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract() {
    let keeper = Keeper::start().await;
    let able = Abilities {
        // A node lives as long as its session, which is closed when the registry is dropped.
        expiry: Some(Duration::from_secs(3)),
        ..Abilities::default()
    };
    contract::run("zookeeper", || keeper.registry(), able).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn go_sees_us_and_we_see_go() {
    let keeper = Keeper::start().await;
    contract::go("zookeeper", &keeper.address(), || keeper.registry()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line() {
    let keeper = Keeper::start().await;
    contract::cli("zookeeper", &keeper.address(), || keeper.registry(), &[]).await;
}

/// Under another path than go-micro's, and in a part of the ensemble's tree.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_keep_fleets_apart() {
    let keeper = Keeper::start().await;
    let address = keeper.address();
    let here = ZooKeeper::new([format!("zk://{address}/prod/eu")]);
    let there = ZooKeeper::new([&address]).prefix("/prod/eu/micro-registry");
    let elsewhere = ZooKeeper::new([&address]);
    let service = expect::service("a", "a-1", 1);
    here.register(&service, Duration::ZERO).await.unwrap();
    assert_eq!(
        there.get("a").await.unwrap(),
        std::slice::from_ref(&service)
    );
    assert!(elsewhere.get("a").await.unwrap().is_empty());
    assert!(elsewhere.list().await.unwrap().is_empty());
    there.deregister(&service).await.unwrap();
    assert!(here.get("a").await.unwrap().is_empty());
}

/// The first of two servers does not exist: the other one is used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_is_used() {
    let keeper = Keeper::start().await;
    let [nobody] = micro_tests::servers::free_ports();
    let registry = ZooKeeper::new([format!("127.0.0.1:{nobody}"), keeper.address()]);
    let service = expect::service("a", "a-1", 1);
    for _ in 0..4 {
        let registry = registry.clone();
        registry.register(&service, Duration::ZERO).await.unwrap();
        assert_eq!(
            registry.get("a").await.unwrap(),
            std::slice::from_ref(&service)
        );
    }
}
