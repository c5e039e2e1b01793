//! The registry `multi` over real servers.
//!
//! | test | shows |
//! |---|---|
//! | `it_behaves_as_a_registry` | the contract of every registry over Consul and etcd, and over etcd and NATS |
//! | `the_command_line_sees_it` | the command `micro` over both |
//! | `a_fleet_moves_from_consul_to_etcd_and_no_call_fails` | a move under load |
//! | `what_one_registry_refuses_it_gets_when_it_is_back` | registering while one is down |

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use micro_runtime::Service;
use micro_runtime::registry::{Consul, Etcd, Multi, Nats, Registry};
use micro_runtime::service::Running;
use micro_tests::contract::{self, Abilities, Cli};
use micro_tests::front::{self, v1::new_front_service};
use micro_tests::servers::{Program, Ready, Server, free_ports};
use tokio::time::sleep;

/// The nodes of the fleet.
const NODES: usize = 4;

async fn consul() -> (Server, String) {
    let [port, dns, grpc, serf, rpc] = free_ports();
    let server = Program::find("consul")
        .args([
            "agent",
            "-dev",
            "-node=t",
            "-bind=127.0.0.1",
            "-client=127.0.0.1",
        ])
        .args(["-log-level=warn", "-grpc-tls-port=-1", "-serf-wan-port=-1"])
        .args([
            format!("-http-port={port}"),
            format!("-dns-port={dns}"),
            format!("-grpc-port={grpc}"),
        ])
        .args([
            format!("-serf-lan-port={serf}"),
            format!("-server-port={rpc}"),
        ])
        .start(Ready::http(
            port,
            "/v1/status/leader",
            &format!("127.0.0.1:{rpc}"),
        ))
        .await;
    (server, format!("127.0.0.1:{port}"))
}

async fn etcd() -> (Server, String) {
    let [port, peers] = free_ports();
    let server = Program::find("etcd-3.6")
        .args([
            "--name",
            "t",
            "--data-dir",
            "{dir}/data",
            "--log-level",
            "warn",
        ])
        .arg(format!("--listen-client-urls=http://127.0.0.1:{port}"))
        .arg(format!("--advertise-client-urls=http://127.0.0.1:{port}"))
        .arg(format!("--listen-peer-urls=http://127.0.0.1:{peers}"))
        .arg(format!(
            "--initial-advertise-peer-urls=http://127.0.0.1:{peers}"
        ))
        .arg(format!("--initial-cluster=t=http://127.0.0.1:{peers}"))
        .start(Ready::http(port, "/health", "true"))
        .await;
    (server, format!("127.0.0.1:{port}"))
}

async fn nats() -> (Server, String) {
    let [port, monitor] = free_ports();
    let server = Program::find("nats-2.15")
        .args(["--addr", "127.0.0.1"])
        .args([
            "--port",
            &port.to_string(),
            "--http_port",
            &monitor.to_string(),
        ])
        .start(Ready::http(monitor, "/healthz", "ok"))
        .await;
    (server, format!("127.0.0.1:{port}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_behaves_as_a_registry() {
    let (_consul, consul) = consul().await;
    let (_etcd, etcd) = etcd().await;
    let (_nats, nats) = nats().await;
    let both = || {
        Multi::new()
            .and(Consul::new([consul.clone()]))
            .and(Etcd::new([etcd.clone()]))
    };
    contract::run("multi of consul and etcd", both, Abilities::default()).await;
    let both = || {
        Multi::new()
            .and(Etcd::new([etcd.clone()]))
            .and(Nats::new([nats.clone()]))
    };
    contract::run("multi of etcd and nats", both, Abilities::default()).await;
}

#[tokio::test]
async fn the_command_line_sees_it() {
    let (_consul, consul) = consul().await;
    let (_etcd, etcd) = etcd().await;
    let cli = Cli {
        name: "multi",
        address: &format!("consul://{consul},etcd://{etcd}"),
        nobody: Some("consul://127.0.0.1:1,etcd://127.0.0.1:1"),
        beside: Some(&["consul"]),
    };
    // Each node is in one of the two alone, the command sees both.
    cli.run(Etcd::new([etcd])).await;
    cli.run(Consul::new([consul])).await;
}

/// A node that says which generation it is of.
async fn node(registry: impl Registry, generation: &'static str) -> Running {
    let service = Service::new("fleet")
        .address("127.0.0.1:0")
        .registry(registry)
        .build()
        .unwrap();
    let answer = move |_, _| async move { Ok(front::answer(generation)) };
    front::register(service.server(), answer).unwrap();
    service.start().await.unwrap()
}

async fn named(registry: &impl Registry) -> usize {
    let services = registry.get("fleet").await.unwrap();
    services.iter().map(|service| service.nodes.len()).sum()
}

/// Waits until a registry names so many nodes of the fleet.
async fn names(registry: &impl Registry, nodes: usize) {
    let started = Instant::now();
    while named(registry).await != nodes {
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "found {}",
            named(registry).await
        );
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_moves_from_consul_to_etcd_and_no_call_fails() {
    let (mut old_server, old_address) = consul().await;
    let (_new_server, new_address) = etcd().await;
    let old = || Consul::new([old_address.clone()]);
    let new = || Etcd::new([new_address.clone()]);
    let both = || Multi::new().and(old()).and(new());

    let mut fleet = Vec::new();
    for _ in 0..NODES {
        fleet.push(node(old(), "old").await);
    }
    let client = Service::new("client").registry(both()).build().unwrap();
    let front = new_front_service("fleet", client.client());
    let (stop, calls, failed) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicU64::new(0)),
    );
    let load: Vec<_> = (0..8)
        .map(|_| {
            let (stop, calls, failed) = (stop.clone(), calls.clone(), failed.clone());
            let front = front.clone();
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    calls.fetch_add(1, Ordering::Relaxed);
                    if let Err(status) = front.look(front::question("?")).await {
                        eprintln!("failed: {status}");
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    // Some 800 calls a second are load enough, and leave the servers their share of two cores.
                    sleep(Duration::from_millis(10)).await;
                }
            })
        })
        .collect();

    // Node by node: the one that writes to both comes, one of the old ones goes. That is faster than callers hear of
    // it (SIGTERM would leave them the time, by `drain_delay`): those that find every node gone have the registry asked.
    let mut moved = Vec::new();
    for old in fleet {
        moved.push(node(both(), "both").await);
        old.stop().await.unwrap();
    }
    names(&new(), NODES).await;
    // Then from both to the new one alone.
    let mut last = Vec::new();
    for both in moved {
        last.push(node(new(), "new").await);
        both.stop().await.unwrap();
    }
    names(&new(), NODES).await;
    names(&old(), 0).await;
    // The old registry is switched off while clients still have it.
    old_server.kill9().await;
    let before = calls.load(Ordering::Relaxed);
    let started = Instant::now();
    while calls.load(Ordering::Relaxed) < before + 500 {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "the load stands still"
        );
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(front.look(front::question("?")).await.unwrap().text, "new");
    // A node that comes now is found, one that goes is forgotten.
    let extra = node(new(), "extra").await;
    let started = Instant::now();
    while front.look(front::question("?")).await.unwrap().text != "extra" {
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "the new node is not called"
        );
    }
    extra.stop().await.unwrap();
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }
    for node in last {
        node.stop().await.unwrap();
    }
    let (calls, failed) = (
        calls.load(Ordering::Relaxed),
        failed.load(Ordering::Relaxed),
    );
    println!("moved {NODES} nodes from consul to etcd: {calls} calls, {failed} failed");
    assert_eq!(failed, 0, "of {calls} calls");
}

#[tokio::test]
async fn what_one_registry_refuses_it_gets_when_it_is_back() {
    let (mut consul_server, consul_address) = consul().await;
    let (_etcd_server, etcd_address) = etcd().await;
    consul_server.kill9().await;
    let both = Multi::new()
        .and(Consul::new([consul_address.clone()]))
        .and(Etcd::new([etcd_address.clone()]));
    let running = node(both, "both").await;
    names(&Etcd::new([etcd_address]), 1).await;
    consul_server.restart().await;
    let back = Instant::now();
    names(&Consul::new([consul_address]), 1).await;
    assert!(
        back.elapsed() < Duration::from_secs(3),
        "{:?}",
        back.elapsed()
    );
    running.stop().await.unwrap();
}
