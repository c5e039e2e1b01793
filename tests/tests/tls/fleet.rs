//! Nodes with TLS beside nodes without it, under one name.
//!
//! A client speaks TLS with every node or with none: what the registry says decides nothing. Nodes that do not
//! speak as the client does refuse it before anything was processed, and the call goes to others.

use micro_runtime::client::ClientOptions;
use micro_runtime::registry::{Memory, Registry};
use micro_runtime::selector::Filter;
use micro_runtime::service::{Running, Service};
use micro_runtime::transport::{ClientTls, ServerTls};
use micro_runtime::{Client, Code};
use micro_tests::certs::{Authority, Wish};
use micro_tests::front;
use micro_tests::front::v1::{FrontService, new_front_service};
use tokio::net::TcpListener;
use tokio::time::{Duration, timeout};

use crate::support::{PATIENCE, in_time, server, trusting};

const NAME: &str = "tls.fleet";
const CALLS: usize = 200;

/// A node that says which kind it is.
async fn node(registry: &Memory, tls: Option<ServerTls>) -> Running {
    let mut builder = Service::new(NAME)
        .address("127.0.0.1:0")
        .drain_delay(Duration::ZERO)
        .registry(registry.clone());
    let says = match tls {
        Some(tls) => {
            builder = builder.tls(tls);
            "tls"
        }
        None => "plain",
    };
    let service = builder.build().unwrap();
    front::register(service.server(), move |_, _| async move {
        Ok(front::answer(says))
    })
    .unwrap();
    service.start().await.unwrap()
}

async fn nodes(registry: &Memory, count: usize, tls: Option<&ServerTls>) -> Vec<Running> {
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(node(registry, tls.cloned()).await);
    }
    nodes
}

async fn stop(nodes: Vec<Running>) {
    for node in nodes {
        in_time(node.stop()).await.unwrap();
    }
}

fn client(registry: &Memory, tls: Option<ClientTls>) -> Client {
    let mut builder = Service::new("tls.client")
        .registry(registry.clone())
        .request_timeout(PATIENCE);
    if let Some(tls) = tls {
        builder = builder.client_tls(tls);
    }
    builder.build().unwrap().client().clone()
}

/// That every one of many calls is answered, by nodes that say this.
async fn all_answered(front: &FrontService, says: &str) {
    for call in 0..CALLS {
        let answer = in_time(front.ask(front::question("?"))).await;
        assert_eq!(answer.unwrap().text, says, "call {call}");
    }
}

#[tokio::test]
async fn each_client_reaches_the_nodes_that_speak_as_it_does() {
    let authority = Authority::new("fleet");
    let tls = server(&authority.sign(Wish::good()));
    // Half of each kind; and more of one kind than are ever put aside at once.
    for (secured, plain) in [(2, 2), (1, 4), (4, 1)] {
        let registry = Memory::new();
        let _secured = nodes(&registry, secured, Some(&tls)).await;
        let _plain = nodes(&registry, plain, None).await;
        let with = client(&registry, Some(trusting(&authority)));
        all_answered(&new_front_service(NAME, &with), "tls").await;
        all_answered(&new_front_service(NAME, &client(&registry, None)), "plain").await;
    }
}

/// Without a moment in which either client has nobody to call.
#[tokio::test]
async fn a_fleet_changes_over_beside_its_callers() {
    let authority = Authority::new("fleet");
    let tls = server(&authority.sign(Wish::good()));
    let registry = Memory::new();
    let old = client(&registry, None);
    let old = new_front_service(NAME, &old);
    let new = client(&registry, Some(trusting(&authority)));
    let new = new_front_service(NAME, &new);

    let plain = nodes(&registry, 3, None).await;
    all_answered(&old, "plain").await;
    let secured = nodes(&registry, 3, Some(&tls)).await;
    all_answered(&old, "plain").await;
    all_answered(&new, "tls").await;
    stop(plain).await;
    all_answered(&new, "tls").await;
    stop(secured).await;
}

#[tokio::test]
async fn a_fleet_of_the_other_kind_alone_is_told() {
    let authority = Authority::new("fleet");
    let tls = server(&authority.sign(Wish::good()));
    for (secured, client_tls, why) in [
        (true, None, "speaks TLS, and was dialled without it"),
        (
            false,
            Some(trusting(&authority)),
            "the server speaks plain text on this port, not TLS",
        ),
    ] {
        let registry = Memory::new();
        let _nodes = nodes(&registry, 3, secured.then_some(&tls)).await;
        let front = new_front_service(NAME, &client(&registry, client_tls));
        let status = in_time(front.ask(front::question("?"))).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(status.message().contains(why), "{status}");
    }
}

/// Nodes of micro that speak TLS say `secure=true`, so that a client may choose them and leave the others alone.
/// It still speaks TLS with whatever it calls.
#[tokio::test]
async fn a_filter_leaves_the_others_undialled() {
    let authority = Authority::new("fleet");
    let tls = server(&authority.sign(Wish::good()));
    let registry = Memory::new();
    let _secured = nodes(&registry, 1, Some(&tls)).await;
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = other.local_addr().unwrap().port();
    let plain = micro_tests::expect::service(NAME, "plain", port);
    registry
        .register(&plain, Duration::from_secs(60))
        .await
        .unwrap();

    let chosen = ClientOptions::new().filters([Filter::label("secure", "true")]);
    let with = client(&registry, Some(trusting(&authority)));
    let front = new_front_service(NAME, &with.with(chosen).unwrap());
    all_answered(&front, "tls").await;
    let dialled = timeout(Duration::from_millis(50), other.accept()).await;
    assert!(dialled.is_err(), "a node without TLS was dialled");
}

/// Who can write to the registry does not decide whether a call is encrypted.
#[tokio::test]
async fn the_registry_cannot_turn_tls_off() {
    let authority = Authority::new("fleet");
    let registry = Memory::new();
    let _plain = nodes(&registry, 1, None).await;
    let mut said = registry.get(NAME).await.unwrap().remove(0);
    for (key, value) in [("secure", "false"), ("protocol", "grpc")] {
        said.nodes[0]
            .metadata
            .insert(key.to_owned(), value.to_owned());
    }
    registry
        .register(&said, Duration::from_secs(60))
        .await
        .unwrap();
    let with = client(&registry, Some(trusting(&authority)));
    let front = new_front_service(NAME, &with);
    let status = in_time(front.ask(front::question("?"))).await.unwrap_err();
    assert!(status.message().contains("plain text"), "{status}");
}
