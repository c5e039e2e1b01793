//! Members that have names over restarts, and sessions.

use std::time::{Duration, Instant};

use micro_runtime::ErrorKind;
use micro_runtime::broker::{Broker, Consumer, Delivery, Topic};
use micro_tests::consumer::{item, next, publish, silent, taken};

use crate::server::Cluster;

const LEAST: Delivery = Delivery::AtLeastOnce;

/// Far longer than anything here takes.
const SESSION: Duration = Duration::from_secs(120);

pub(crate) async fn a_name_is_taken_over(cluster: &Cluster) {
    let named = || cluster.broker().session(SESSION).instance("pod-0");
    let queue = Topic::new("named").queue("named").delivery(LEAST);
    let mut first = named().subscribe(&queue).await.unwrap();
    publish(&named(), "named", "x", LEAST).await;
    let held = next(&mut first).await;
    // As the same process, started again while the old one hangs.
    let mut second = named().subscribe(&queue).await.unwrap();
    let again = next(&mut second).await;
    assert_eq!(again.body(), held.body());
    again.ack().await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), item(&mut first)).await;
    let error = ended.unwrap().unwrap().unwrap_err();
    println!("{error}");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("a name of its own"), "{error}");
    // Two subscriptions of one process have two names.
    let both = named();
    let other = Topic::new("named.two").queue("named.two").delivery(LEAST);
    let mut members = [
        both.subscribe(&other).await.unwrap(),
        both.clone().subscribe(&other).await.unwrap(),
    ];
    for member in &mut members {
        silent(member, Duration::from_secs(1)).await;
    }
}

pub(crate) async fn a_member_that_comes_back_has_its_partitions_at_once(cluster: &Cluster) {
    let named = |name: &str| cluster.broker().session(SESSION).instance(name);
    let queue = Topic::new("back").queue("back").delivery(LEAST);
    let mut first = named("pod-0").subscribe(&queue).await.unwrap();
    let mut other = named("pod-1").subscribe(&queue).await.unwrap();
    // A group shares its partitions out in two rounds. Who ends between them leaves one that nobody has.
    share(cluster, [&mut first, &mut other]).await;
    // It says no goodbye, so that its partitions stay its own.
    first.close().await;
    let begun = Instant::now();
    let mut again = named("pod-0").subscribe(&queue).await.unwrap();
    assert!(begun.elapsed() < SESSION / 4, "{:?}", begun.elapsed());
    println!("a member is back after {:?}", begun.elapsed());
    share(cluster, [&mut again, &mut other]).await;
}

/// Publishes until both have got some of it, and they have all.
async fn share<C: Consumer>(cluster: &Cluster, [one, other]: [&mut C; 2]) {
    let broker = cluster.broker();
    let mut shares = [0, 0];
    let begun = Instant::now();
    while shares.contains(&0) {
        assert!(begun.elapsed() < SESSION / 2, "{shares:?}");
        for number in 0..20 {
            publish(&broker, "back", &number.to_string(), LEAST).await;
        }
        for _ in 0..20 {
            tokio::select! {
                _ = taken(one) => shares[0] += 1,
                _ = taken(other) => shares[1] += 1,
            }
        }
    }
}

pub(crate) async fn a_session_that_the_server_does_not_allow_is_told_of(cluster: &Cluster) {
    let broker = cluster.broker().session(Duration::from_secs(2));
    let queue = Topic::new("session").queue("session").delivery(LEAST);
    let subscribing = tokio::time::timeout(Duration::from_secs(20), broker.subscribe(&queue));
    let error = subscribing.await.unwrap().unwrap_err();
    println!("{error}");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(
        error.to_string().contains("group.min.session.timeout.ms"),
        "{error}"
    );
}
