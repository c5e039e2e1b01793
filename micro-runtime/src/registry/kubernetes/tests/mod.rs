//! Against a scripted API server; `tests/tests/registry_kubernetes` has the real one.

mod server;

use std::future::Future;
use std::time::Duration;

use serde_json::json;

use self::server::Server;
use super::*;
use crate::error::ErrorKind;
use crate::registry::Node;

fn greeter(node: &str) -> Service {
    Service {
        name: "greeter".into(),
        version: "1".into(),
        nodes: vec![Node {
            id: node.into(),
            address: format!("{node}:1"),
            ..Node::default()
        }],
        ..Service::default()
    }
}

fn registry(server: &Server) -> Kubernetes {
    Kubernetes::new([server.url()]).pod("mine")
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, what)
        .await
        .expect("within 20 s")
}

async fn found(registry: &Kubernetes) -> Result<Vec<String>, String> {
    let services = registry.get("greeter").await;
    let services = services.map_err(|error| error.to_string())?;
    let nodes = services.iter().flat_map(|service| &service.nodes);
    Ok(nodes.map(|node| node.id.clone()).collect())
}

async fn next(watcher: &mut Watcher) -> String {
    match soon(watcher.next()).await {
        Some(Ok(event)) => {
            let ids: Vec<_> = event
                .service
                .nodes
                .into_iter()
                .map(|node| node.id)
                .collect();
            format!("{:?} {}", event.action, ids.join(" "))
        }
        Some(Err(error)) => error.to_string(),
        None => "the end".to_owned(),
    }
}

async fn add(registry: &Kubernetes, service: &Service) -> Result<(), Error> {
    registry.register(service, Duration::from_secs(90)).await
}

#[tokio::test]
async fn a_service_stands_in_its_pod_until_it_is_taken_out() {
    let server = Server::start().await;
    let registry = registry(&server);
    server.pod("mine");
    add(&registry, &greeter("a")).await.unwrap();
    add(&registry, &greeter("a")).await.unwrap();
    let labels = json!({ "micro.mu/type": "service", "micro.mu/selector-greeter": "service" });
    assert_eq!(server.get("mine")["metadata"]["labels"], labels);
    assert_eq!(registry.get("greeter").await.unwrap(), [greeter("a")]);
    assert_eq!(registry.list().await.unwrap(), [greeter("a")]);
    assert!(registry.get("other").await.unwrap().is_empty());
    for _ in 0..2 {
        registry.deregister(&greeter("a")).await.unwrap();
        assert!(registry.get("greeter").await.unwrap().is_empty());
    }
    assert_eq!(server.get("mine")["metadata"]["annotations"], json!({}));
    server.delete("mine");
    registry.deregister(&greeter("a")).await.unwrap();
    let error = add(&registry, &greeter("a")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no pod \"mine\" in the namespace \"default\" to register in"
    );
    let nobody = Kubernetes::new([server.url()]);
    let error = add(&nobody, &greeter("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[tokio::test]
async fn versions_of_many_pods_are_joined_page_by_page() {
    let server = Server::start().await;
    let registry = registry(&server);
    for number in 0..5 {
        server.runs(&format!("p{number}"), &format!("n{number}"));
    }
    server.edit("p4", |pod| {
        let annotation = &mut pod["metadata"]["annotations"]["micro.mu/service-greeter"];
        *annotation = json!(annotation.as_str().unwrap().replace("\"1\"", "\"2\""));
    });
    server.edit("p3", |pod| {
        pod["metadata"]["annotations"]["micro.mu/service-greeter"] = json!("{\"name\":");
    });
    server.state().page = 2;
    assert_eq!(found(&registry).await.unwrap(), ["n0", "n1", "n2", "n4"]);
    let services = registry.get("greeter").await.unwrap();
    let versions: Vec<_> = services.iter().map(|s| s.version.as_str()).collect();
    assert_eq!(versions, ["1", "2"]);
    server.state().forget_pages = true;
    assert_eq!(found(&registry).await.unwrap(), ["n0", "n1", "n2", "n4"]);
    assert!(!server.state().forget_pages);
}

#[tokio::test]
async fn a_watch_tells_of_pods_that_come_change_and_go() {
    let server = Server::start().await;
    let registry = registry(&server);
    server.runs("p0", "before");
    let mut watcher = registry.watch(Some("greeter")).await.unwrap();
    let mut all = registry.watch(None).await.unwrap();
    server.runs("p1", "a");
    assert_eq!(next(&mut watcher).await, "Create a");
    server.edit("p1", |pod| {
        let annotation = &mut pod["metadata"]["annotations"]["micro.mu/service-greeter"];
        *annotation = json!(annotation.as_str().unwrap().replace("\"1\"", "\"2\""));
    });
    assert_eq!(next(&mut watcher).await, "Update a");
    // The same node again, in the pod that takes its place: it is not gone with the first.
    server.runs("p2", "a");
    assert_eq!(next(&mut watcher).await, "Create a");
    server.delete("p1");
    server.runs("p3", "b");
    assert_eq!(next(&mut watcher).await, "Create b");
    server.edit("p2", |pod| {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z")
    });
    assert_eq!(next(&mut watcher).await, "Delete a");
    server.edit("p3", |pod| pod["status"]["phase"] = json!("Failed"));
    assert_eq!(next(&mut watcher).await, "Delete b");
    server.pod("mine");
    add(&registry, &greeter("c")).await.unwrap();
    assert_eq!(next(&mut watcher).await, "Create c");
    registry.deregister(&greeter("c")).await.unwrap();
    assert_eq!(next(&mut watcher).await, "Delete c");
    server.delete("p0");
    assert_eq!(next(&mut watcher).await, "Delete before");
    assert_eq!(next(&mut all).await, "Create a");
}

#[tokio::test]
async fn what_was_forgotten_is_listed_again_and_the_difference_told() {
    let server = Server::start().await;
    let registry = registry(&server);
    for pod in ["a", "b", "c"] {
        server.runs(pod, pod);
    }
    let mut watcher = registry.watch(Some("greeter")).await.unwrap();
    {
        // Nothing of this is in the log that the watch reads.
        let mut state = server.state();
        state.forgotten = u64::MAX;
    }
    server.delete("a");
    server.runs("d", "d");
    server.forget();
    assert_eq!(next(&mut watcher).await, "Create d");
    assert_eq!(next(&mut watcher).await, "Delete a");
    server.state().forgotten = u64::MAX;
    for pod in ["b", "c", "d"] {
        server.delete(pod);
    }
    server.forget();
    assert_eq!(
        next(&mut watcher).await,
        "Kubernetes names 3 of the 3 nodes of \"greeter\" no longer, look them up to find out more",
        "a list that lost everything is doubted"
    );
    server.runs("e", "e");
    assert_eq!(next(&mut watcher).await, "Create e");
}

#[tokio::test]
async fn a_store_that_was_put_back_is_listed_again() {
    let mut server = Server::start().await;
    let registry = registry(&server);
    for pod in ["a", "b", "c", "d"] {
        server.runs(pod, pod);
    }
    let mut watcher = registry.watch(Some("greeter")).await.unwrap();
    server.runs("e", "e");
    assert_eq!(next(&mut watcher).await, "Create e");
    // Its versions begin anew, and a watch from one of the former is told of nothing, once it is taken.
    server.kill().await;
    server.put_back();
    for pod in ["a", "b", "c", "e", "f"] {
        server.runs(pod, pod);
    }
    server.state().refuse = Some(504);
    let mut asked = server.state().asked.subscribe();
    server.back().await;
    soon(asked.wait_for(|requests| *requests > 0))
        .await
        .unwrap();
    server.state().refuse = None;
    assert_eq!(next(&mut watcher).await, "Create f");
    assert_eq!(next(&mut watcher).await, "Delete d");
    server.runs("g", "g");
    assert_eq!(next(&mut watcher).await, "Create g");
}

#[tokio::test]
async fn a_server_that_dies_keeps_what_is_known_and_is_watched_again() {
    let mut server = Server::start().await;
    let registry = registry(&server);
    server.runs("a", "a");
    let mut watcher = registry.watch(Some("greeter")).await.unwrap();
    server.kill().await;
    let error = found(&registry).await.unwrap_err();
    assert!(error.contains("cannot connect"), "{error}");
    server.runs("b", "b");
    server.delete("a");
    let started = std::time::Instant::now();
    server.back().await;
    assert_eq!(next(&mut watcher).await, "Create b");
    assert_eq!(next(&mut watcher).await, "Delete a");
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(found(&registry).await.unwrap(), ["b"]);
}

#[tokio::test]
async fn noise_in_a_watch_is_survived() {
    let server = Server::start().await;
    let registry = registry(&server);
    let mut watcher = registry.watch(Some("greeter")).await.unwrap();
    for noise in [
        "{",
        "[]",
        "{\"type\":\"ADDED\"}",
        "{\"type\":\"NEWER\",\"object\":{}}",
        "{\"type\":\"ADDED\",\"object\":{\"metadata\":[]}}",
        "\"x\"",
        "{\"type\":\"ERROR\",\"object\":{\"code\":500,\"message\":\"no\"}}",
    ] {
        server.state().noise.push(noise.to_owned());
        server.runs("a", "a");
        assert_eq!(next(&mut watcher).await, "Create a", "{noise}");
        server.delete("a");
        assert_eq!(next(&mut watcher).await, "Delete a", "{noise}");
    }
}

#[tokio::test]
async fn a_refusal_says_what_is_needed() {
    let server = Server::start().await;
    let registry = registry(&server).token("s3cret");
    server.pod("mine");
    server.state().refuse = Some(403);
    let errors = [
        add(&registry, &greeter("a")).await.unwrap_err(),
        registry.get("greeter").await.unwrap_err(),
        registry.watch(None).await.unwrap_err(),
    ];
    for (error, verb) in errors.iter().zip(["patch", "list", "list"]) {
        let text = error.to_string();
        assert!(
            text.contains(&format!(
                "refuses to {verb} pods of the namespace \"default\", status 403"
            )),
            "{text}"
        );
        assert!(text.contains("get, list, watch and patch"), "{text}");
        assert_eq!(error.kind(), ErrorKind::Registry);
        assert!(!format!("{error:?} {registry:?}").contains("s3cret"));
    }
    server.state().refuse = None;
    server.state().token = Some("other".to_owned());
    let error = registry.get("greeter").await.unwrap_err().to_string();
    assert!(error.ends_with("the token is not accepted"), "{error}");
    assert!(registry.token("other").get("greeter").await.is_ok());
}

#[tokio::test]
async fn a_token_in_a_file_is_read_again_when_it_is_refused() {
    let server = Server::start().await;
    let file = std::env::temp_dir().join(format!("micro-token-{}", std::process::id()));
    std::fs::write(&file, "first\n").unwrap();
    let registry = Kubernetes::new([server.url()]).token_file(&file);
    server.state().token = Some("first".to_owned());
    registry.get("greeter").await.unwrap();
    std::fs::write(&file, "second\n").unwrap();
    server.state().token = Some("second".to_owned());
    registry.get("greeter").await.unwrap();
    std::fs::write(&file, "third\n").unwrap();
    server.state().token = Some("third".to_owned());
    registry.watch(None).await.unwrap();
    std::fs::remove_file(&file).unwrap();
    server.state().token = Some("fourth".to_owned());
    let error = registry.get("greeter").await.unwrap_err().to_string();
    assert!(error.starts_with("cannot read "), "{error}");
}

#[tokio::test]
async fn dropping_the_registry_or_the_watcher_ends_the_watch() {
    let server = Server::start().await;
    let registry = registry(&server);
    let inner = Arc::downgrade(&registry.0);
    let gone = registry.watch(None).await.unwrap();
    let mut watcher = registry.watch(Some("greeter")).await.unwrap();
    drop(gone);
    server.runs("a", "a");
    assert_eq!(next(&mut watcher).await, "Create a");
    drop(registry);
    assert_eq!(next(&mut watcher).await, "the end");
    assert!(inner.upgrade().is_none());
}

#[test]
fn what_is_no_address_is_named() {
    for (addresses, expected) in [
        (
            &["https://a", "https://b"][..],
            "the registry kubernetes takes one API server, found 2",
        ),
        (&["etcd://a"], "expected one of http, https before ://"),
        (&["https://me:x@a"], "expected :TOKEN before the @"),
        (
            &["https://a?x=1"],
            "expected one of namespace, pod, token_file",
        ),
        (&["http://a?ca=/x"], "the parameter ca is one of TLS"),
    ] {
        let error = Kubernetes::try_new(addresses.iter().copied()).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
        assert_eq!(error.kind(), ErrorKind::Config);
    }
    let registry = Kubernetes::new(["https://:t@a?namespace=shop&pod=p"]);
    assert_eq!(registry.0.config.pod.as_deref(), Some("p"));
    assert_eq!(registry.0.config.namespace.as_deref(), Some("shop"));
    assert!(Kubernetes::in_cluster().api().is_ok());
    let mixed = Kubernetes::new(["http://a"]).tls(ClientTls::new());
    assert!(mixed.api().is_err());
}
