//! Servers that die or stand still, nodes that die.

use std::time::Duration;

use micro_runtime::registry::{Action, Nats, Registry};
use micro_tests::go::Program;
use micro_tests::proxy::Proxy;
use micro_tests::servers::free_ports;
use tokio::time::{Instant, sleep, timeout};

use micro_tests::expect::{follow, ids, service, until};
use micro_tests::nats::{Hub, NEW, OLD};

/// How soon after its return everything is as it should be.
const BACK: Duration = Duration::from_secs(3);

/// How long a node is registered for where nothing else is said.
const TTL: Duration = Duration::from_secs(90);

async fn outage(program: &str, down: Duration) {
    let mut hub = Hub::start(program).await;
    let (ours, theirs, goes) = (hub.registry(), hub.registry(), hub.registry());
    ours.register(&service("a", "a-1", 1), TTL).await.unwrap();
    goes.register(&service("a", "goes", 9), Duration::from_secs(2))
        .await
        .unwrap();
    let mut watcher = theirs.watch(Some("a")).await.unwrap();
    let mut known = vec!["a-1".to_owned(), "goes".to_owned()];
    hub.server.kill9().await;
    drop(goes);
    let late = hub.registry().timeout(Duration::from_millis(300));
    let begun = Instant::now();
    let error = late
        .register(&service("a", "late", 2), TTL)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("gave no answer within 300ms"),
        "{error}"
    );
    assert!(late.get("a").await.is_err() && late.watch(None).await.is_err());
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    sleep(down).await;
    // Silence of the server is nobody's silence.
    assert!(
        timeout(Duration::from_millis(1), watcher.next())
            .await
            .is_err()
    );
    hub.server.restart().await;
    let truth = vec!["a-1".to_owned(), "late".to_owned()];
    let took = until(BACK, truth, async || ids(&theirs, "a").await).await;
    println!("{program} down for {down:?}: complete {took:?} after the return");
    let actions = follow(&mut watcher, &mut known, &["a-1", "goes", "late"], BACK).await;
    assert!(!actions.contains(&Action::Delete), "{actions:?}");
    follow(
        &mut watcher,
        &mut known,
        &["a-1", "late"],
        Duration::from_secs(6),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_outage_of_2_15_loses_nothing() {
    outage(NEW, Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_longer_outage_of_2_9_loses_nothing() {
    outage(OLD, Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_is_waited_for() {
    let hub = Hub::start(NEW).await;
    let (ours, theirs) = (
        hub.registry(),
        hub.registry().timeout(Duration::from_millis(500)),
    );
    // Much shorter than the server stands still.
    ours.register(&service("a", "a-1", 1), TTL).await.unwrap();
    let short = hub.registry();
    let mut watcher = theirs.watch(Some("a")).await.unwrap();
    let mut known = vec!["a-1".to_owned()];
    short
        .register(&service("a", "short", 2), Duration::from_secs(2))
        .await
        .unwrap();
    follow(&mut watcher, &mut known, &["a-1", "short"], BACK).await;
    // Its process still answers for it, were it asked.
    short
        .register(&service("a", "short", 2), Duration::from_secs(60))
        .await
        .unwrap();
    hub.server.pause();
    let begun = Instant::now();
    assert!(theirs.get("a").await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(
        timeout(Duration::from_secs(6), watcher.next())
            .await
            .is_err()
    );
    hub.server.resume();
    let truth = vec!["a-1".to_owned(), "short".to_owned()];
    until(BACK, truth, async || ids(&theirs, "a").await).await;
    ours.register(&service("a", "a-2", 1), TTL).await.unwrap();
    let actions = follow(&mut watcher, &mut known, &["a-1", "a-2", "short"], BACK).await;
    assert_eq!(actions, [Action::Create]);
}

/// A process of ours that dies is out of the answers at once, and out of a watch when its time has passed; one
/// that is merely cut off is back as soon as the way is open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_cut_off_goes_and_comes_back() {
    let hub = Hub::start(NEW).await;
    let way = Proxy::to(hub.address()).await;
    let ours = Nats::new([way.address()]);
    let theirs = hub.registry();
    ours.register(&service("a", "a-1", 1), Duration::from_secs(20))
        .await
        .unwrap();
    let mut watcher = theirs.watch(Some("a")).await.unwrap();
    let mut known = vec!["a-1".to_owned()];
    way.refuse();
    until(BACK, Vec::new(), async || ids(&theirs, "a").await).await;
    // Not yet silent for its time.
    assert!(
        timeout(Duration::from_millis(500), watcher.next())
            .await
            .is_err()
    );
    way.heal();
    let took = until(BACK, vec!["a-1".to_owned()], async || {
        ids(&theirs, "a").await
    })
    .await;
    println!("cut off: back {took:?} after the way was open");
    drop(ours);
    let begun = Instant::now();
    follow(&mut watcher, &mut known, &[], Duration::from_secs(25)).await;
    println!(
        "a node of 20 s that died was out after {:?}",
        begun.elapsed()
    );
}

/// Nodes of go-micro say no time, and nothing when they are killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_go_that_is_killed_ages_out() {
    let hub = Hub::start(NEW).await;
    for program in ["gomicro2", "gomicro5"] {
        let program = Program::find(program).unwrap();
        let theirs = hub.registry().silence(Duration::from_secs(3));
        let mut watcher = theirs.watch(Some("gone")).await.unwrap();
        let address = hub.address();
        let arguments = [
            "--name",
            "gone",
            "--id",
            "one",
            "--registry",
            "nats",
            "--registry_address",
            &address,
        ];
        let (process, _) = program.serve(&arguments).await.unwrap();
        let came = timeout(Duration::from_secs(10), watcher.next())
            .await
            .unwrap();
        assert_eq!(came.unwrap().unwrap().action, Action::Create);
        // Alive and silent for longer than that: it answers when it is asked after.
        let more = async {
            while let Some(Ok(event)) = watcher.next().await {
                assert_ne!(event.action, Action::Delete);
            }
        };
        assert!(timeout(Duration::from_secs(7), more).await.is_err());
        // Killed without a word.
        drop(process);
        let begun = Instant::now();
        let gone = async {
            loop {
                let event = watcher.next().await.unwrap().unwrap();
                if event.action == Action::Delete {
                    break;
                }
            }
        };
        timeout(Duration::from_secs(8), gone).await.unwrap();
        println!(
            "{}: out {:?} after it was killed",
            program.name,
            begun.elapsed()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_server_at_first_all_is_made_good() {
    let mut hub = Hub::start(NEW).await;
    hub.server.kill9().await;
    let ours = hub.registry().timeout(Duration::from_millis(300));
    assert!(ours.register(&service("a", "a-1", 1), TTL).await.is_err());
    let taken_back = service("a", "a-2", 2);
    assert!(ours.register(&taken_back, TTL).await.is_err());
    assert!(ours.deregister(&taken_back).await.is_err());
    hub.server.restart().await;
    let theirs = hub.registry();
    until(BACK, vec!["a-1".to_owned()], async || {
        ids(&theirs, "a").await
    })
    .await;
}

/// When the last clone goes, so do its watches and its connection; also while it tries to connect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_it_ends_everything() {
    let hub = Hub::start(NEW).await;
    let ours = hub.registry();
    ours.register(&service("a", "a-1", 1), TTL).await.unwrap();
    let mut watcher = ours.watch(Some("a")).await.unwrap();
    let clone = ours.clone();
    drop(ours);
    assert_eq!(ids(&clone, "a").await.unwrap(), ["a-1"]);
    assert_eq!(hub.clients().await, Ok(1));
    drop(clone);
    assert!(watcher.next().await.is_none());
    until(BACK, 0, async || hub.clients().await).await;
    let [nobody] = free_ports();
    let away = Nats::new([format!("127.0.0.1:{nobody}")]).timeout(Duration::from_millis(300));
    assert!(away.get("a").await.is_err());
    drop(away);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", nobody))
        .await
        .unwrap();
    let knock = timeout(Duration::from_secs(3), listener.accept()).await;
    assert!(knock.is_err(), "it still tries to connect");
}

/// The first of two servers does not exist: the other one is used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_is_used() {
    let hub = Hub::start(NEW).await;
    let [nobody] = free_ports();
    for _ in 0..4 {
        let registry = Nats::new([format!("127.0.0.1:{nobody}"), hub.address()]);
        registry
            .register(&service("a", "a-1", 1), TTL)
            .await
            .unwrap();
        assert_eq!(ids(&registry, "a").await.unwrap(), ["a-1"]);
    }
}
