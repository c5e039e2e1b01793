//! The registry `kubernetes` against the real API server, over TLS. There is no kubelet: the tests make pods and
//! say themselves that they run.
//!
//! Building kube-apiserver takes ten minutes, so these run by `.ci/run slow`; what it is asked and may answer is
//! tested beside the code against a scripted one, which stands in for it here too in `scripted`.

mod cluster;
mod scripted;

use std::time::{Duration, Instant};

use micro_runtime::registry::{Action, Kubernetes, Node, Registry, Service, Watcher};
use micro_runtime::service::Running;
use micro_runtime::{ErrorKind, Service as App};
use micro_tests::contract::{self, Abilities, Cli};
use micro_tests::front::{self, v1::new_front_service};
use tokio::time::{sleep, timeout};

use cluster::Cluster;

const TTL: Duration = Duration::from_secs(90);

fn service(name: &str, version: &str, node: &str) -> Service {
    Service {
        name: name.into(),
        version: version.into(),
        nodes: vec![Node {
            id: node.into(),
            address: format!("{node}:1"),
            metadata: [("protocol".to_owned(), "grpc".to_owned())].into(),
        }],
        ..Service::default()
    }
}

async fn ids(registry: &Kubernetes, name: &str) -> Vec<String> {
    let services = registry.get(name).await.unwrap();
    let nodes = services.iter().flat_map(|service| &service.nodes);
    nodes.map(|node| node.id.clone()).collect()
}

/// A node of `fleet` that answers with this text.
async fn serve(registry: Kubernetes, text: &'static str) -> Running {
    let app = App::new("fleet")
        .address("127.0.0.1:0")
        .registry(registry)
        .build()
        .unwrap();
    let answer = move |_, _| async move { Ok(front::answer(text)) };
    front::register(app.server(), answer).unwrap();
    app.start().await.unwrap()
}

async fn next(watcher: &mut Watcher) -> (Action, String) {
    let event = timeout(Duration::from_secs(20), watcher.next())
        .await
        .expect("an event within 20 s");
    let event = event.expect("the watch goes on").unwrap();
    let nodes: Vec<_> = event
        .service
        .nodes
        .into_iter()
        .map(|node| node.id)
        .collect();
    (event.action, nodes.join(" "))
}

/// What a registry can do whose nodes are pods, each with one node of a service.
fn able() -> Abilities {
    Abilities {
        expiry: None,
        many_nodes: false,
        ..Abilities::default()
    }
}

/// The most pods that the contract's clients take.
const PODS: usize = 128;

/// A pod for each client.
struct Pods(std::sync::atomic::AtomicUsize);

impl Pods {
    const fn new() -> Pods {
        Pods(std::sync::atomic::AtomicUsize::new(0))
    }

    fn next(&self) -> String {
        let number = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        assert!(number < PODS, "the contract wants more pods");
        format!("pod{number}")
    }
}

#[tokio::test]
#[ignore = "needs kube-apiserver: .ci/run slow"]
async fn it_behaves_as_a_registry() {
    let cluster = Cluster::start().await;
    let pods = Pods::new();
    for number in 0..PODS {
        cluster.pod(&format!("pod{number}")).await;
    }
    let make = || cluster.registry().pod(pods.next());
    contract::run("kubernetes", make, able()).await;
    let cli = Cli {
        name: "kubernetes",
        address: &cluster.address(),
        nobody: Some("http://127.0.0.1:1"),
        beside: Some(&[]),
    };
    cli.run(make()).await;
}

#[tokio::test]
#[ignore = "needs kube-apiserver: .ci/run slow"]
async fn services_stand_in_pods_and_are_watched() {
    let cluster = Cluster::start().await;
    for pod in ["p1", "p2"] {
        cluster.pod(pod).await;
    }
    let (one, two) = (cluster.registry().pod("p1"), cluster.registry().pod("p2"));
    let reader = cluster.registry();
    assert!(reader.get("go.micro/greeter").await.unwrap().is_empty());
    let mut watcher = reader.watch(Some("go.micro/greeter")).await.unwrap();
    let mut all = reader.watch(None).await.unwrap();
    let greeter = |version, node| service("go.micro/greeter", version, node);
    one.register(&greeter("1", "a"), TTL).await.unwrap();
    assert_eq!(next(&mut watcher).await, (Action::Create, "a".into()));
    two.register(&greeter("2", "b"), TTL).await.unwrap();
    assert_eq!(next(&mut watcher).await, (Action::Create, "b".into()));
    one.register(&greeter("1", "a"), TTL).await.unwrap();
    one.register(&service("other", "1", "c"), TTL)
        .await
        .unwrap();
    assert_eq!(
        reader.get("go.micro/greeter").await.unwrap(),
        [greeter("1", "a"), greeter("2", "b")]
    );
    assert_eq!(reader.list().await.unwrap().len(), 3);
    for expected in ["a", "b", "c"] {
        assert_eq!(next(&mut all).await, (Action::Create, expected.into()));
    }
    // As go-micro's plugin reads it.
    let pod = cluster.get("/api/v1/namespaces/default/pods/p1").await;
    assert_eq!(
        pod["metadata"]["labels"]["micro.mu/selector-go.micro_greeter"],
        "service"
    );
    let text = pod["metadata"]["annotations"]["micro.mu/service-go.micro_greeter"]
        .as_str()
        .unwrap();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(text).unwrap()["nodes"][0]["id"],
        "a"
    );

    one.deregister(&greeter("1", "a")).await.unwrap();
    assert_eq!(next(&mut watcher).await, (Action::Delete, "a".into()));
    assert_eq!(ids(&reader, "go.micro/greeter").await, ["b"]);
    assert_eq!(
        ids(&reader, "other").await,
        ["c"],
        "another one of the same pod stays"
    );
    cluster.phase("p2", "Failed").await;
    assert_eq!(next(&mut watcher).await, (Action::Delete, "b".into()));
    cluster.phase("p2", "Running").await;
    assert_eq!(next(&mut watcher).await, (Action::Create, "b".into()));
    cluster.delete("p2").await;
    assert_eq!(next(&mut watcher).await, (Action::Delete, "b".into()));
    assert_eq!(next(&mut all).await, (Action::Delete, "a".into()));
    let error = two.register(&greeter("2", "b"), TTL).await.unwrap_err();
    assert!(
        error.to_string().starts_with("there is no pod \"p2\""),
        "{error}"
    );
    two.deregister(&greeter("2", "b")).await.unwrap();
}

#[tokio::test]
#[ignore = "needs kube-apiserver: .ci/run slow"]
async fn many_pods_come_in_pages() {
    let cluster = Cluster::start().await;
    let greeter = |node: &str| service("greeter", "1", node);
    for number in 0..300 {
        let name = format!("p{number:03}");
        cluster.pod_with(&name, &greeter(&name)).await;
    }
    let reader = cluster.registry();
    assert_eq!(ids(&reader, "greeter").await.len(), 300, "a page has 250");
}

#[tokio::test]
#[ignore = "needs kube-apiserver: .ci/run slow"]
async fn the_role_of_the_docs_is_what_is_needed() {
    let cluster = Cluster::start().await;
    cluster.pod("p1").await;
    let token = cluster.service_account().await;
    let registry = cluster.registry().token(&token).pod("p1");
    let greeter = service("greeter", "1", "a");
    for error in [
        registry.register(&greeter, TTL).await.unwrap_err(),
        registry.get("greeter").await.unwrap_err(),
        registry.watch(None).await.unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(
            text.contains("status 403") && text.contains("get, list, watch and patch"),
            "{text}"
        );
        assert!(!text.contains(&token));
    }
    cluster.role().await;
    // The authorizer learns of it by a watch of its own.
    let started = Instant::now();
    while let Err(error) = registry.register(&greeter, TTL).await {
        assert!(started.elapsed() < Duration::from_secs(20), "{error}");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ids(&registry, "greeter").await, ["a"]);
    let mut watcher = registry.watch(Some("greeter")).await.unwrap();
    registry.deregister(&greeter).await.unwrap();
    assert_eq!(next(&mut watcher).await, (Action::Delete, "a".into()));

    let stranger = cluster.registry().token("nobody");
    let error = stranger.get("greeter").await.unwrap_err();
    assert!(
        error.to_string().ends_with("the token is not accepted"),
        "{error}"
    );
    // The system's authorities do not know this one.
    let untrusting = Kubernetes::new([cluster.url()]).token(&token);
    let error = untrusting.get("greeter").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registry);
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
#[ignore = "needs kube-apiserver: .ci/run slow"]
async fn a_server_that_is_killed_costs_no_call() {
    let mut cluster = Cluster::start().await;
    for pod in ["p1", "p2"] {
        cluster.pod(pod).await;
    }
    let first = serve(cluster.registry().pod("p1"), "first").await;
    let client = App::new("client")
        .registry(cluster.registry())
        .build()
        .unwrap();
    let front = new_front_service("fleet", client.client());
    let call = async || front.look(front::question("?")).await.unwrap().text;
    assert_eq!(call().await, "first");
    let reader = cluster.registry();
    let mut watcher = reader.watch(Some("fleet")).await.unwrap();
    cluster.kill9().await;
    assert!(reader.get("fleet").await.is_err());
    let down = Instant::now();
    while down.elapsed() < Duration::from_secs(3) {
        assert_eq!(call().await, "first");
        sleep(Duration::from_millis(10)).await;
    }
    cluster.restart().await;
    let second = serve(cluster.registry().pod("p2"), "second").await;
    let back = Instant::now();
    while call().await != "second" {
        assert!(
            back.elapsed() < Duration::from_secs(10),
            "the new node is not called"
        );
    }
    assert_eq!(next(&mut watcher).await.0, Action::Create);
    println!(
        "the new node is called {:?} after it registered",
        back.elapsed()
    );
    second.stop().await.unwrap();
    first.stop().await.unwrap();
    assert!(ids(&reader, "fleet").await.is_empty());
}
