//! Connections: which are made ahead, kept, shared, replaced.

use super::nodes::named;
use super::*;
use crate::Code;
use crate::selector::{P2c, Strategy};
use tokio::time::{Instant, sleep};

fn client_with(network: &Network, registry: &Memory, strategy: impl Strategy) -> Client {
    Client::new(
        Arc::new(registry.clone()),
        Arc::new(strategy),
        Arc::new(network.clone()),
        ClientOptions::new(),
    )
    .unwrap()
}

fn echo(id: &str, address: &str) -> registry::Service {
    registry::Service {
        name: "echo".into(),
        nodes: vec![Node {
            id: id.into(),
            address: address.into(),
            ..Node::default()
        }],
        ..registry::Service::default()
    }
}

#[tokio::test(start_paused = true)]
async fn the_nodes_of_a_small_service_are_connected_ahead() {
    let network = Network::default();
    let addresses: Vec<String> = (0..33).map(|n| format!("n{n}:1")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    for address in &addresses {
        network.serve(address, named("n"));
    }
    let dials = || -> usize { addresses.iter().map(|address| network.dials(address)).sum() };
    let registry = registry(&addresses[..32]).await;
    let target = client_of(&network, registry.clone()).target("echo");
    assert_eq!(dials(), 0, "nobody calls");
    target.unary(&ECHO, String::new()).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    assert_eq!(dials(), 1, "the first ones are dialled by their calls");
    // What joins a service that is called finds a connection made, and with it those that have none yet.
    let first = echo("echo-n0:1", "n0:1");
    registry.deregister(&first).await.unwrap();
    registry
        .register(&echo("new", "n32:1"), Duration::ZERO)
        .await
        .unwrap();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(network.dials("n32:1"), 1);
    assert!(dials() >= 32, "{}", dials());
    // Of a large service only those that are called.
    let network = Network::default();
    addresses
        .iter()
        .for_each(|address| network.serve(address, named("n")));
    let target = client(&network, &addresses).await.target("echo");
    target.unary(&ECHO, String::new()).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    let dials: usize = addresses.iter().map(|address| network.dials(address)).sum();
    assert_eq!(dials, 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_and_goes_costs_one_connection() {
    // As itself, and as another node at the same address each time.
    for new_id in [false, true] {
        let network = Network::default();
        network.serve("a:1", named("a"));
        network.serve("b:1", named("b"));
        let registry = registry(&["a:1"]).await;
        let target = client_with(&network, &registry, P2c).target("echo");
        let mut found = Vec::new();
        for turn in 0..50 {
            let id = if new_id {
                format!("b{turn}")
            } else {
                "b".to_owned()
            };
            let b = echo(&id, "b:1");
            registry.register(&b, Duration::ZERO).await.unwrap();
            for half in 0..2 {
                for _ in 0..20 {
                    sleep(Duration::from_millis(10)).await;
                    found.push(target.unary(&ECHO, String::new()).await.unwrap());
                }
                if half == 0 {
                    registry.deregister(&b).await.unwrap();
                }
            }
        }
        assert!(
            found.contains(&"b".to_owned()),
            "it is used while it is there"
        );
        assert_eq!((network.dials("a:1"), network.dials("b:1")), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_answering_comes_back_over_a_new_connection() {
    let network = Network::default();
    let mute = Count::default();
    for name in ["a", "b", "c", "d"] {
        let silent = mute.clone();
        network.serve(&format!("{name}:1"), move |exchange: Exchange| {
            let silent = silent.clone();
            async move {
                if name == "b" && silent.get() > 0 {
                    return std::future::pending().await;
                }
                sleep(Duration::from_millis(1)).await;
                reply(exchange.reply, name);
            }
        });
    }
    let registry = registry(&["a:1", "b:1", "c:1", "d:1"]).await;
    let target = client_with(&network, &registry, P2c).target("echo");
    let call = || async {
        let call = target.unary(&ECHO, String::new());
        call.timeout(Duration::from_secs(1)).await
    };
    for _ in 0..100 {
        call().await.unwrap();
    }
    assert_eq!(network.dials("b:1"), 1);
    mute.add();
    // What dials it now finds nobody, as behind a proxy that swallows everything.
    network.put("b:1", Site::Refuses);
    let mut failed = 0;
    let start = Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    while start.elapsed() < Duration::from_secs(20) {
        sleep(Duration::from_millis(2)).await;
        let call = target.unary(&ECHO, String::new());
        calls.spawn(async move { call.timeout(Duration::from_secs(1)).await });
    }
    while let Some(result) = calls.join_next().await {
        if let Err(status) = result.unwrap() {
            assert_eq!(status.code(), Code::DeadlineExceeded);
            failed += 1;
        }
    }
    assert!((1..=3).contains(&failed), "{failed}");
    // It was dialled to see whether it is back, at no call's cost.
    assert!(network.dials("b:1") > 2, "{}", network.dials("b:1"));
    network.serve("b:1", named("b"));
    sleep(Duration::from_secs(60)).await;
    let mut found = Vec::new();
    for _ in 0..50 {
        found.push(call().await.unwrap());
    }
    assert!(
        found.iter().filter(|name| *name == "b").count() > 2,
        "{found:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_host_that_swallows_everything_is_dialled_while_calls_go_elsewhere() {
    let network = Network::default();
    network.serve("a:1", named("a"));
    network.serve("b:1", named("b"));
    let registry = registry(&["a:1", "b:1"]).await;
    let target = client_with(&network, &registry, RoundRobin).target("echo");
    for _ in 0..4 {
        target.unary(&ECHO, String::new()).await.unwrap();
    }
    network.kill("b:1");
    for _ in 0..4 {
        target.unary(&ECHO, String::new()).await.unwrap();
    }
    network.put("b:1", Site::Hangs);
    let dials = network.dials("b:1");
    for _ in 0..1_000 {
        sleep(Duration::from_millis(10)).await;
        let start = Instant::now();
        let found = target.unary(&ECHO, String::new()).await.unwrap();
        assert_eq!((&*found, start.elapsed()), ("a", Duration::ZERO));
    }
    assert_eq!(network.dials("b:1"), dials + 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_registers_again_is_probed_at_once() {
    let network = Network::default();
    network.serve("a:1", named("a"));
    let registry = registry(&["a:1"]).await;
    let b = echo("b", "b:1");
    registry.register(&b, Duration::ZERO).await.unwrap();
    let target = client_with(&network, &registry, RoundRobin).target("echo");
    // It has been dead for long: the pause before the next probe is near a minute.
    for _ in 0..200 {
        sleep(Duration::from_secs(1)).await;
        target.unary(&ECHO, String::new()).await.unwrap();
    }
    registry.deregister(&b).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    network.serve("b:1", named("b"));
    registry.register(&b, Duration::ZERO).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    let mut found = Vec::new();
    for _ in 0..20 {
        found.push(target.unary(&ECHO, String::new()).await.unwrap());
    }
    assert!(
        found.iter().filter(|name| *name == "b").count() > 5,
        "{found:?}"
    );
}

/// Panics at each dial, and counts them.
struct Panics(Count);

impl Dial for Panics {
    fn dial(&self, _: Arc<str>) -> BoxFuture<'static, Result<Connection, Broken>> {
        self.0.add();
        Box::pin(async { panic!("a dial") })
    }
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_panics_is_a_dial_that_failed() {
    let dials = Count::default();
    let client = Client::new(
        Arc::new(registry(&["a:1"]).await),
        Arc::new(P2c),
        Arc::new(Panics(dials.clone())),
        ClientOptions::new(),
    );
    let target = client.unwrap().target("echo");
    for _ in 0..100 {
        let status = target.unary(&ECHO, String::new()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(status.message().contains("the dial panicked"), "{status}");
    }
    assert_eq!(dials.get(), 1, "its address is left alone for a while");
}
