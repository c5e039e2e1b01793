//! Servers that die or stand still, sessions that live on or are lost.

use std::time::Duration;

use micro_runtime::registry::{Action, Registry, ZooKeeper};
use micro_tests::proxy::Proxy;
use micro_tests::servers::free_ports;
use tokio::time::{Instant, sleep};

use crate::raw::Raw;
use crate::server::{Keeper, SESSION};
use micro_tests::expect::{follow, ids, service, until};

/// How soon after its return everything is as it should be.
const BACK: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_outage_loses_nothing() {
    let mut keeper = Keeper::start().await;
    let ours = keeper.registry().session_timeout(Duration::from_secs(8));
    let theirs = keeper.registry().session_timeout(Duration::from_secs(8));
    ours.register(&service("a", "a-1", 1), Duration::ZERO)
        .await
        .unwrap();
    let mut watcher = theirs.watch(Some("a")).await.unwrap();
    let mut known = vec!["a-1".to_owned()];
    keeper.server.kill9().await;
    keeper.server.restart().await;
    let one = Ok(vec!["a-1".to_owned()]);
    let took = until(BACK, one.clone(), async || Ok(ids(&theirs, "a").await)).await;
    // It is watched on, without having been told that the node was gone.
    ours.register(&service("a", "a-2", 2), Duration::ZERO)
        .await
        .unwrap();
    let actions = follow(&mut watcher, &mut known, &["a-1", "a-2"], BACK).await;
    assert!(!actions.contains(&Action::Delete), "{actions:?}");
    println!("short outage: read again {took:?} after the return");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_outage_loses_the_session_and_not_the_node() {
    let mut keeper = Keeper::start().await;
    let (ours, theirs) = (keeper.registry(), keeper.registry());
    ours.register(&service("a", "a-1", 1), Duration::ZERO)
        .await
        .unwrap();
    let gone = keeper.registry();
    gone.register(&service("a", "gone", 3), Duration::ZERO)
        .await
        .unwrap();
    let mut watcher = theirs.watch(Some("a")).await.unwrap();
    let mut known = vec!["a-1".to_owned(), "gone".to_owned()];
    keeper.server.kill9().await;
    drop(gone);
    let late = keeper.registry().timeout(Duration::from_millis(300));
    let error = late
        .register(&service("a", "late", 2), Duration::ZERO)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("gave no answer within 300ms"),
        "{error}"
    );
    // A client takes its session for expired after 7/5 of its time.
    sleep(SESSION * 3).await;
    let before = Instant::now();
    let error = ours
        .clone()
        .timeout(Duration::from_millis(200))
        .get("a")
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no server could be connected to"),
        "{error}"
    );
    assert!(
        before.elapsed() < Duration::from_secs(2),
        "{:?}",
        before.elapsed()
    );
    keeper.server.restart().await;
    // Of the one whose process died the server learns when its session has timed out.
    let back = Instant::now();
    let truth = ["a-1".to_owned(), "late".to_owned()];
    let seen = async || {
        let mut ids = ids(&theirs, "a").await?;
        ids.retain(|id| id != "gone");
        Ok(ids)
    };
    until(BACK, truth.to_vec(), seen).await;
    println!(
        "long outage: registered again {:?} after the return",
        back.elapsed()
    );
    follow(
        &mut watcher,
        &mut known,
        &["a-1", "late"],
        BACK + 2 * SESSION,
    )
    .await;
    // The session that the server took over from its log ends; our nodes belong to others.
    sleep(2 * SESSION).await;
    assert_eq!(ids(&theirs, "a").await.unwrap(), truth);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_is_waited_for() {
    let keeper = Keeper::start().await;
    let (ours, theirs) = (keeper.registry(), keeper.registry());
    ours.register(&service("a", "a-1", 1), Duration::ZERO)
        .await
        .unwrap();
    let mut watcher = theirs.watch(Some("a")).await.unwrap();
    let mut known = vec!["a-1".to_owned()];
    keeper.server.pause();
    let begun = Instant::now();
    let impatient = ours.clone().timeout(Duration::from_millis(500));
    assert!(impatient.get("a").await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(2));
    sleep(3 * SESSION).await;
    keeper.server.resume();
    ours.register(&service("a", "a-2", 2), Duration::ZERO)
        .await
        .unwrap();
    let truth = vec!["a-1".to_owned(), "a-2".to_owned()];
    until(BACK, truth.clone(), async || ids(&theirs, "a").await).await;
    follow(&mut watcher, &mut known, &["a-1", "a-2"], BACK).await;
    sleep(2 * SESSION).await;
    assert_eq!(ids(&theirs, "a").await.unwrap(), truth);
}

/// One node's way to the server is swallowed for longer than its session lives: the others see it go, and
/// come back as soon as the way is there again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_cut_off_goes_and_comes_back() {
    let keeper = Keeper::start().await;
    let way = Proxy::to(keeper.address()).await;
    let ours = ZooKeeper::new([way.address()]).session_timeout(SESSION);
    let theirs = keeper.registry();
    ours.register(&service("a", "a-1", 1), Duration::ZERO)
        .await
        .unwrap();
    let mut watcher = theirs.watch(Some("a")).await.unwrap();
    let mut known = vec!["a-1".to_owned()];
    way.swallow();
    follow(&mut watcher, &mut known, &[], 3 * SESSION).await;
    assert!(ids(&theirs, "a").await.unwrap().is_empty());
    way.heal();
    let begun = Instant::now();
    follow(&mut watcher, &mut known, &["a-1"], BACK).await;
    println!(
        "cut off: registered again {:?} after the way was open",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_server_at_first_all_is_made_good() {
    let mut keeper = Keeper::start().await;
    keeper.server.kill9().await;
    let ours = keeper.registry().timeout(Duration::from_millis(300));
    let node = service("a", "a-1", 1);
    assert!(ours.register(&node, Duration::ZERO).await.is_err());
    assert!(ours.watch(None).await.is_err());
    let taken_back = service("a", "a-2", 2);
    assert!(ours.register(&taken_back, Duration::ZERO).await.is_err());
    assert!(ours.deregister(&taken_back).await.is_err());
    keeper.server.restart().await;
    let theirs = keeper.registry();
    until(BACK, vec!["a-1".to_owned()], async || {
        ids(&theirs, "a").await
    })
    .await;
}

/// The connection is lost and made again at once: the same session, whose watches must go on, and not have
/// missed what happened meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_connection_keeps_session_and_watches() {
    let keeper = Keeper::start().await;
    let way = Proxy::to(keeper.address()).await;
    let ours = ZooKeeper::new([way.address()]).session_timeout(Duration::from_secs(8));
    let theirs = keeper.registry();
    ours.register(&service("a", "a-0", 1), Duration::ZERO)
        .await
        .unwrap();
    let mut one = ours.watch(Some("a")).await.unwrap();
    let mut all = ours.watch(None).await.unwrap();
    let mut known = vec!["a-0".to_owned()];
    let mut known_of_all = known.clone();
    let mut expected = known.clone();
    for round in 1..=5 {
        way.cut();
        let id = format!("a-{round}");
        theirs
            .register(&service("a", &id, 1), Duration::ZERO)
            .await
            .unwrap();
        expected.push(id);
        let expected: Vec<_> = expected.iter().map(String::as_str).collect();
        for (watcher, known) in [(&mut one, &mut known), (&mut all, &mut known_of_all)] {
            let actions = follow(watcher, known, &expected, BACK).await;
            assert!(!actions.contains(&Action::Delete), "{actions:?}");
        }
    }
    // What happens on a connection that has been there for a while is told by the server itself.
    sleep(Duration::from_secs(1)).await;
    theirs.deregister(&service("a", "a-1", 1)).await.unwrap();
    follow(
        &mut one,
        &mut known,
        &["a-0", "a-2", "a-3", "a-4", "a-5"],
        BACK,
    )
    .await;
    drop(all);
    theirs.deregister(&service("a", "a-2", 1)).await.unwrap();
    follow(&mut one, &mut known, &["a-0", "a-3", "a-4", "a-5"], BACK).await;
}

/// What somebody else takes out is there again at the next renewal; what changed is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_makes_sure() {
    let keeper = Keeper::start().await;
    let ours = keeper.registry();
    let mut node = service("a", "a-1", 1);
    ours.register(&node, Duration::ZERO).await.unwrap();
    let mut raw = Raw::connect(&keeper.address()).await;
    raw.delete("/micro-registry/a/a-1").await;
    assert!(ours.get("a").await.unwrap().is_empty());
    ours.register(&node, Duration::ZERO).await.unwrap();
    assert_eq!(ours.get("a").await.unwrap(), [node.clone()]);
    raw.write("/micro-registry/a/a-1", b"{}").await;
    node.nodes[0].address = "127.0.0.1:9".to_owned();
    ours.register(&node, Duration::ZERO).await.unwrap();
    assert_eq!(ours.get("a").await.unwrap(), [node]);
}

/// When the last clone goes, its watches end and its nodes go at once: with the session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_it_ends_everything() {
    let keeper = Keeper::start().await;
    let theirs = keeper.registry();
    // An hour: what goes before goes because the session was closed.
    let ours = keeper.registry().session_timeout(Duration::from_secs(3600));
    ours.register(&service("a", "a-1", 1), Duration::ZERO)
        .await
        .unwrap();
    let mut watcher = ours.watch(Some("a")).await.unwrap();
    let clone = ours.clone();
    drop(ours);
    assert_eq!(ids(&clone, "a").await.unwrap(), ["a-1"]);
    drop(clone);
    assert!(watcher.next().await.is_none());
    let took = until(BACK, Vec::new(), async || ids(&theirs, "a").await).await;
    println!("dropped: gone after {took:?}");
    // Nobody there and none to come: attempts to connect end with the registry too.
    let [nobody] = free_ports();
    let alone = ZooKeeper::new([format!("127.0.0.1:{nobody}")]).timeout(Duration::from_millis(50));
    assert!(alone.get("a").await.is_err());
}
