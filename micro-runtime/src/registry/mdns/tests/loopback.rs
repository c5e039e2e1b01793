//! Two registries on real sockets, on the loopback interface alone. Other tests and programs of this machine
//! may be doing the same, so each test has names of its own.

use std::time::Duration;

use crate::error::ErrorKind;
use crate::registry::{Action, Event, Mdns, Node, Registry, Service, Watcher};

/// What these tests wait at most for something that comes within milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

fn mdns() -> Mdns {
    Mdns::new().loopback_only()
}

/// A name that no other run of these tests uses.
fn unique(name: &str) -> String {
    format!("{name}-{:08x}", fastrand::u32(..))
}

fn service(name: &str, version: &str, node: u16) -> Service {
    Service {
        name: name.to_owned(),
        version: version.to_owned(),
        nodes: vec![Node {
            id: format!("{name}-{node}"),
            address: format!("127.0.0.1:{}", 10_000 + node),
            metadata: [("protocol".to_owned(), "grpc".to_owned())].into(),
        }],
        ..Service::default()
    }
}

async fn next(watcher: &mut Watcher) -> Event {
    let event = tokio::time::timeout(PATIENCE, watcher.next()).await;
    event.expect("no event").expect("the watch ended").unwrap()
}

#[tokio::test]
async fn two_registries_find_each_other() {
    let name = unique("two");
    let (ours, theirs) = (mdns(), mdns());
    let here = service(&name, "latest", 1);
    let there = service(&name, "latest", 2);
    ours.register(&here, Duration::ZERO).await.unwrap();
    theirs.register(&there, Duration::ZERO).await.unwrap();
    let nodes = [here.nodes.clone(), there.nodes.clone()].concat();
    for registry in [&ours, &theirs, &mdns()] {
        // On a machine that is too busy one of the answers may come after the other's 50 ms.
        let both = async {
            loop {
                let found = registry.get(&name).await.unwrap();
                if found
                    .iter()
                    .map(|service| service.nodes.len())
                    .sum::<usize>()
                    == 2
                {
                    return found;
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, both)
            .await
            .expect("not both are found");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].nodes, nodes);
        assert_eq!(found[0].version, "latest");
    }
    let names = mdns().list().await.unwrap();
    assert!(names.iter().any(|service| service.name == name));
}

#[tokio::test]
async fn a_watcher_sees_a_node_come_change_and_go() {
    let name = unique("watch");
    let registry = mdns();
    let watching = mdns();
    let mut named = watching.watch(Some(&name)).await.unwrap();
    let mut service = service(&name, "", 1);
    registry.register(&service, Duration::ZERO).await.unwrap();
    let event = next(&mut named).await;
    assert_eq!(event.action, Action::Create);
    assert_eq!(event.service.nodes, service.nodes);
    assert_eq!(event.service.version, "latest");

    service.nodes[0].metadata.insert("zone".into(), "b".into());
    registry.register(&service, Duration::ZERO).await.unwrap();
    let event = next(&mut named).await;
    assert_eq!(event.action, Action::Update);
    assert_eq!(event.service.nodes, service.nodes);

    registry.deregister(&service).await.unwrap();
    let event = next(&mut named).await;
    assert_eq!(event.action, Action::Delete);
    assert_eq!(event.service.nodes[0].id, service.nodes[0].id);
}

#[tokio::test]
async fn nothing_is_found_of_what_is_not_there() {
    assert_eq!(mdns().get(&unique("none")).await.unwrap(), []);
}

#[tokio::test]
async fn an_interface_that_is_missing_is_named() {
    let lost = Mdns::new().interfaces(["no-such-if0"]);
    let service = service(&unique("lost"), "1", 1);
    lost.register(&service, Duration::ZERO).await.unwrap();
    assert_eq!(
        lost.get(&service.name).await.unwrap()[0].nodes,
        service.nodes,
        "what this value has registered itself"
    );
    let error = lost.get(&unique("other")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registry);
    assert!(error.to_string().contains("no-such-if0"), "{error}");
}

#[tokio::test]
async fn the_last_clone_ends_the_watch() {
    let registry = mdns();
    let clone = registry.clone();
    let mut watcher = registry.watch(None).await.unwrap();
    drop(registry);
    let name = unique("clone");
    let service = service(&name, "1", 1);
    clone.register(&service, Duration::ZERO).await.unwrap();
    while next(&mut watcher).await.service.name != name {}
    drop(clone);
    let end = async { while watcher.next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, end)
        .await
        .expect("it goes on");
}

#[test]
fn making_one_needs_no_runtime_and_using_it_does() {
    let registry = Mdns::new().domain("example").interfaces(["lo"]);
    let mut get = Box::pin(registry.get("greeter"));
    let waker = std::task::Waker::noop();
    let mut cx = std::task::Context::from_waker(waker);
    let std::task::Poll::Ready(Err(error)) = get.as_mut().poll(&mut cx) else {
        panic!("it must fail at once");
    };
    assert!(error.to_string().contains("tokio runtime"), "{error}");
}

#[tokio::test]
async fn it_works_on_in_a_second_runtime() {
    let registry = mdns();
    let name = unique("again");
    let first = registry.clone();
    let other = name.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(first.get(&other)).unwrap();
    })
    .join()
    .unwrap();
    assert_eq!(registry.get(&name).await.unwrap(), []);
}

#[tokio::test]
async fn what_cannot_be_registered_says_why() {
    let registry = mdns();
    let fails = async |id: &str, name: &str, address: &str, why: &str| {
        let mut service = service(name, "1", 1);
        service.nodes[0].id = id.to_owned();
        service.nodes[0].address = address.to_owned();
        let error = registry
            .register(&service, Duration::ZERO)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(why), "{error}");
    };
    fails(
        "a-1",
        "a",
        "localhost:80",
        "expected an IP address with a port",
    )
    .await;
    fails("a-1", "a", "10.0.0.1", "expected an IP address with a port").await;
    fails("a-1", "a", "10.0.0.1:0", "the port is 0").await;
    fails("a-1", "a", "0.0.0.0:80", "nobody can dial it").await;
    fails("a-1", "a..b", "10.0.0.1:80", "is empty").await;
    let long = "a-service-with-quite-a-long-name";
    let id = format!("{long}-{}", uuid::Uuid::new_v4());
    fails(&id, long, "10.0.0.1:80", "has 69 bytes, mDNS allows 63").await;
    let error = registry.get("a..b").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let wrong = mdns().domain("").get("a").await.unwrap_err();
    assert!(wrong.to_string().contains("domain"), "{wrong}");
}

#[tokio::test]
async fn two_hundred_services_at_once() {
    // In a domain of its own, lest every list that another test asks for has all these names.
    let prefix = unique("many");
    let (server, client) = (mdns().domain(&prefix), mdns().domain(&prefix));
    let mut names: Vec<String> = (0..200)
        .map(|number| format!("{prefix}-{number}"))
        .collect();
    for name in &names {
        server
            .register(&service(name, "1", 1), Duration::ZERO)
            .await
            .unwrap();
    }
    names.sort();
    let all = async {
        loop {
            let list = client.list().await.unwrap();
            let listed = list.into_iter().map(|service| service.name);
            if listed.eq(names.iter().cloned()) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, all)
        .await
        .expect("some are never listed");
    let found = client.get(&names[123]).await.unwrap();
    assert_eq!(found[0].nodes[0].id, format!("{}-1", names[123]));
}
