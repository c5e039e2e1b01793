//! The registry `dns` against real servers: Knot, whose records change while it runs, and Consul's DNS port.
//!
//! | test | shows |
//! |---|---|
//! | `srv_records_change_while_it_runs` | SRV with and without addresses beside them, priorities, weights; TTL; NXDOMAIN |
//! | `addresses_of_a_large_name_come_whole` | 120 A records: cut short over UDP, whole over TCP |
//! | `what_fails_keeps_what_is_known` | SERVFAIL, a server that is down, and its return, seen by a client's calls |
//! | `a_watch_sees_what_changes` | events by TTL; most nodes gone is an error, not a deletion |
//! | `it_behaves_as_a_registry_of_addresses` | the contract, as far as names and addresses go, over records of both kinds |
//! | `the_command_line_sees_it` | the command `micro` |
//! | `consul_answers_by_dns` | what is registered at Consul is found through its DNS port |

mod knot;

use std::time::{Duration, Instant};

use micro_runtime::registry::{Action, Consul, Dns, Memory, Node, Registry, Service, Watcher};
use micro_runtime::{ErrorKind, Service as App};
use micro_tests::contract::{self, Abilities, Cli};
use micro_tests::front::{self, v1::new_front_service};
use micro_tests::servers::{Program, Ready, free_ports};
use tokio::time::{sleep, timeout};

use knot::{Knot, Published};

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

async fn found(registry: &Dns, service: &str) -> Vec<String> {
    let services = registry.get(service).await.unwrap();
    let nodes = services.iter().flat_map(|service| &service.nodes);
    nodes.map(|node| node.address.clone()).collect()
}

/// Asks until the answer is this one; says how long that took.
async fn until(registry: &Dns, service: &str, expected: &[&str]) -> Duration {
    let started = Instant::now();
    loop {
        let now = found(registry, service).await;
        if now == expected {
            return started.elapsed();
        }
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "expected {expected:?}, found {now:?}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

async fn next(watcher: &mut Watcher) -> Result<(Action, Vec<String>), String> {
    let event = timeout(Duration::from_secs(10), watcher.next())
        .await
        .expect("an event within 10 s");
    let event = event
        .expect("the watch goes on")
        .map_err(|error| error.to_string())?;
    let nodes = event.service.nodes.into_iter().map(|node| node.address);
    Ok((event.action, nodes.collect()))
}

#[tokio::test]
async fn it_behaves_as_a_registry_of_addresses() {
    let knot = Knot::start().await;
    let able = Abilities {
        expiry: None,
        list: false,
        watch_all: false,
        details: false,
        slashes: false,
        large: false,
        ..Abilities::default()
    };
    let records = Published::new(&knot);
    let make = || records.registry("{service}.micro.test");
    contract::run("dns", make, able).await;
}

#[tokio::test]
async fn the_command_line_sees_it() {
    let knot = Knot::start().await;
    let cli = Cli {
        name: "dns",
        address: &format!("{{service}}.micro.test,127.0.0.1:{}", knot.port),
        nobody: Some("{service}.micro.test,127.0.0.1:1"),
        beside: None,
    };
    let records = Published::new(&knot);
    cli.run(records.registry("{service}.micro.test")).await;
}

#[tokio::test]
async fn srv_records_change_while_it_runs() {
    let knot = Knot::start().await;
    let registry = knot.registry("_grpc._tcp.{service}.micro.test");
    assert!(
        found(&registry, "hello").await.is_empty(),
        "NXDOMAIN is an answer"
    );
    knot.update(&lines(&[
        "add a 3 A 127.0.0.1",
        "add b 3 A 127.0.0.2",
        "add b 3 AAAA ::1",
        "add _grpc._tcp.hello 3 SRV 10 5 9001 a.micro.test.",
        "add _grpc._tcp.hello 3 SRV 10 1 9002 b.micro.test.",
        "add _grpc._tcp.hello 3 SRV 20 1 9003 a.micro.test.",
        // A target in another zone has no address beside it, and this one none at all.
        "add _grpc._tcp.hello 3 SRV 10 1 9004 nobody.micro.test.",
    ]))
    .await;
    let expected = ["127.0.0.1:9001", "127.0.0.2:9002", "[::1]:9002"];
    until(&registry, "hello", &expected).await;
    let services = registry.get("hello").await.unwrap();
    let metadata = &services[0].nodes[0].metadata;
    assert_eq!(metadata["weight"], "5");
    assert_eq!(metadata["host"], "a.micro.test");
    assert_eq!(services[0].nodes[0].id, "hello-127.0.0.1:9001");
    // What was just asked holds for its time.
    let fresh = knot.registry("_grpc._tcp.{service}.micro.test");
    found(&fresh, "hello").await;
    knot.update(&lines(&[
        "del _grpc._tcp.hello SRV 10 5 9001 a.micro.test.",
    ]))
    .await;
    let took = until(&fresh, "hello", &expected[1..]).await;
    assert!(
        took > Duration::from_millis(2000),
        "asked again after {took:?}, the TTL is 3 s"
    );
    assert!(took < Duration::from_secs(4), "{took:?}");
    // The next priority stands in when the lower one is gone.
    knot.update(&lines(&[
        "del _grpc._tcp.hello SRV 10 1 9002 b.micro.test.",
        "del _grpc._tcp.hello SRV 10 1 9004 nobody.micro.test.",
    ]))
    .await;
    until(&fresh, "hello", &["127.0.0.1:9003"]).await;
    knot.update(&lines(&["del _grpc._tcp.hello"])).await;
    until(&fresh, "hello", &[]).await;
}

#[tokio::test]
async fn addresses_of_a_large_name_come_whole() {
    let knot = Knot::start().await;
    let mut adds: Vec<String> = (1..=120)
        .map(|n| format!("add large 60 A 127.1.0.{n}"))
        .collect();
    adds.push("add large 60 AAAA fd00::1".to_owned());
    knot.update(&adds).await;
    let registry = knot.registry("{service}.micro.test:8080");
    let nodes = found(&registry, "large").await;
    assert_eq!(nodes.len(), 121);
    assert!(
        nodes.contains(&"127.1.0.120:8080".to_owned())
            && nodes.contains(&"[fd00::1]:8080".to_owned())
    );
    // A name that has other records alone.
    knot.update(&lines(&["add text 60 TXT hello"])).await;
    assert!(found(&registry, "text").await.is_empty());
}

#[tokio::test]
async fn what_fails_keeps_what_is_known() {
    let mut knot = Knot::start().await;
    let broken = knot.registry("{service}.broken.test:1");
    let error = broken.get("a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registry);
    assert!(error.to_string().contains("Server Failure"), "{error}");

    // A client keeps calling while the name server is gone, and finds a new node when it is back.
    let node = App::new("hello")
        .address("127.0.0.1:0")
        .registry(Memory::new())
        .build()
        .unwrap();
    let answer = |_, _| async { Ok(front::answer("here")) };
    front::register(node.server(), answer).unwrap();
    let running = node.start().await.unwrap();
    let address = running.address().to_string();
    let port = address.rsplit_once(':').unwrap().1.to_owned();
    knot.update(&lines(&[
        "add srv 1 A 127.0.0.1",
        &format!("add _g._tcp.hello 1 SRV 1 1 {port} srv.micro.test."),
    ]))
    .await;
    let dns = knot.registry("_g._tcp.{service}.micro.test");
    let client = App::new("client").registry(dns.clone()).build().unwrap();
    let front = new_front_service("hello", client.client());
    let call = async || front.look(front::question("?")).await;
    call().await.unwrap();
    knot.server.kill9().await;
    // Until the answer's second is over, the registry need not ask.
    let died = Instant::now();
    let error = loop {
        call().await.unwrap();
        if let Err(error) = dns.get("hello").await {
            break error;
        }
        assert!(died.elapsed() < Duration::from_secs(10), "nobody is asked");
    };
    assert_eq!(error.kind(), ErrorKind::Registry);
    for _ in 0..50 {
        call().await.unwrap();
    }
    knot.server.restart().await;
    let back = Instant::now();
    while dns.get("hello").await.is_err() {
        assert!(back.elapsed() < Duration::from_secs(3));
    }
    call().await.unwrap();
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_watch_sees_what_changes() {
    let knot = Knot::start().await;
    knot.update(&lines(&["add w 1 A 127.0.0.1", "add w 1 A 127.0.0.2"]))
        .await;
    let registry = knot.registry("{service}.micro.test:1");
    let mut watcher = registry.watch(Some("w")).await.unwrap();
    knot.update(&lines(&["add w 1 A 127.0.0.3", "del w A 127.0.0.1"]))
        .await;
    assert_eq!(
        next(&mut watcher).await,
        Ok((Action::Create, vec!["127.0.0.3:1".into()]))
    );
    assert_eq!(
        next(&mut watcher).await,
        Ok((Action::Delete, vec!["127.0.0.1:1".into()]))
    );
    knot.update(&lines(&["del w"])).await;
    let doubt = next(&mut watcher).await.unwrap_err();
    assert!(doubt.starts_with("DNS names 2 of the 2 nodes"), "{doubt}");
    assert!(found(&registry, "w").await.is_empty());
}

#[tokio::test]
async fn consul_answers_by_dns() {
    let [http, dns, grpc, serf, rpc] = free_ports();
    let _consul = Program::find("consul")
        .args([
            "agent",
            "-dev",
            "-node=t",
            "-bind=127.0.0.1",
            "-client=127.0.0.1",
        ])
        .args(["-log-level=warn", "-grpc-tls-port=-1", "-serf-wan-port=-1"])
        .args([
            format!("-http-port={http}"),
            format!("-dns-port={dns}"),
            format!("-grpc-port={grpc}"),
        ])
        .args([
            format!("-serf-lan-port={serf}"),
            format!("-server-port={rpc}"),
        ])
        .start(Ready::http(
            http,
            "/v1/status/leader",
            &format!("127.0.0.1:{rpc}"),
        ))
        .await;
    let consul = Consul::new([format!("127.0.0.1:{http}")]);
    let node = |id: &str, address: &str| Node {
        id: id.into(),
        address: address.into(),
        ..Node::default()
    };
    let mut greeter = Service {
        name: "greeter".into(),
        version: "1".into(),
        nodes: vec![
            node("greeter-1", "127.0.0.1:9001"),
            node("greeter-2", "127.0.0.2:9002"),
        ],
        ..Service::default()
    };
    consul
        .register(&greeter, Duration::from_secs(60))
        .await
        .unwrap();
    let registry = Dns::try_new([
        "{service}.service.consul".to_owned(),
        format!("127.0.0.1:{dns}"),
    ])
    .unwrap()
    .min_interval(Duration::from_millis(100));
    until(&registry, "greeter", &["127.0.0.1:9001", "127.0.0.2:9002"]).await;
    assert_eq!(
        registry.get("greeter").await.unwrap()[0].nodes[0].metadata["weight"],
        "1"
    );
    greeter.nodes.pop();
    consul.deregister(&greeter).await.unwrap();
    until(&registry, "greeter", &["127.0.0.2:9002"]).await;
    assert!(found(&registry, "nobody").await.is_empty());
}
