//! Brokers that find each other over a Consul agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use micro_runtime::Context;
use micro_runtime::broker::{AnyBroker, Http, Publisher, Topic, subscribe};
use micro_runtime::registry::{Consul, Registry};
use micro_tests::events::{Acking, PATIENCE, publish};
use micro_tests::servers::{Program, Ready, Server, free_ports};
use tokio::time::Instant;

use super::{message, one_of};

/// An agent that keeps everything in memory.
async fn agent() -> (Server, String) {
    let [http, dns, grpc, serf, rpc] = free_ports();
    let server = Program::find("consul")
        .file(
            "consul.hcl",
            "disable_update_check = true\nconnect { enabled = false }\nperformance { raft_multiplier = 1 }\n",
        )
        .args(["agent", "-dev", "-node=t", "-bind=127.0.0.1", "-client=127.0.0.1"])
        .args(["-log-level=warn", "-config-file={dir}/consul.hcl"])
        .args(["-grpc-tls-port=-1", "-serf-wan-port=-1"])
        .arg(format!("-http-port={http}"))
        .arg(format!("-dns-port={dns}"))
        .arg(format!("-grpc-port={grpc}"))
        .arg(format!("-serf-lan-port={serf}"))
        .arg(format!("-server-port={rpc}"))
        .start(Ready::http(
            http,
            "/v1/status/leader",
            &format!("127.0.0.1:{rpc}"),
        ))
        .await;
    (server, format!("127.0.0.1:{http}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_find_each_other_by_consul() {
    let (mut agent, address) = agent().await;
    // Each as in a process of its own.
    let make = || Http::new().registry(Consul::new([address.clone()]));
    let everybody = Topic::new("events.over.consul");
    let queue = everybody.clone().queue("q");
    let mut all = [
        Acking::subscribe(&make(), &everybody).await.unwrap(),
        Acking::subscribe(&make(), &everybody).await.unwrap(),
    ];
    let mut members = [
        Acking::subscribe(&make(), &queue).await.unwrap(),
        Acking::subscribe(&make(), &queue).await.unwrap(),
    ];
    let publisher = make().require_subscriber(true);
    for _ in 0..20 {
        publish(&publisher, message("events.over.consul"))
            .await
            .unwrap();
    }
    for open in &mut all {
        for _ in 0..20 {
            open.next().await.unwrap();
        }
    }
    for _ in 0..20 {
        one_of(&mut members).await;
    }
    for open in &mut members {
        assert!(open.events.try_recv().is_err());
    }

    // An entry is what the agent shows others.
    let services = Consul::new([address.clone()])
        .get("micro.http.broker")
        .await
        .unwrap();
    let mut versions: Vec<_> = services
        .iter()
        .flat_map(|service| {
            service
                .nodes
                .iter()
                .map(|node| (service.version.as_str(), node.metadata["topic"].as_str()))
        })
        .collect();
    versions.sort_unstable();
    assert_eq!(
        versions,
        [
            ("ff.http.broadcast", "events.over.consul"),
            ("ff.http.broadcast", "events.over.consul"),
            ("q", "events.over.consul"),
            ("q", "events.over.consul"),
        ]
    );

    // Without the agent events go to whoever was there before.
    agent.kill9().await;
    publish(&publisher, message("events.over.consul"))
        .await
        .unwrap();
    for open in &mut all {
        open.next().await.unwrap();
    }
}

/// The registry hears of an end later than the subscription, which is no failure of who publishes meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_unsubscribes_is_not_missed() {
    let (_agent, address) = agent().await;
    let make = || AnyBroker::new(Http::new().registry(Consul::new([address.clone()])));
    let handled = Arc::new(AtomicU32::new(0));
    let mut open = Vec::new();
    let subscriber = make();
    for queue in [None, Some("q"), None, Some("q"), None, Some("q")] {
        let mut topic = Topic::new("t").concurrency(8);
        if let Some(queue) = queue {
            topic = topic.queue(queue);
        }
        let count = Arc::clone(&handled);
        let subscription = subscribe(&subscriber, topic, move |_: Context, _: String| {
            count.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        })
        .unwrap();
        subscription.ready().await.unwrap();
        open.push(subscription);
    }
    let publisher = Publisher::<String>::new(&make(), "t").timeout(PATIENCE);
    let began = Instant::now();
    while handled.load(Ordering::SeqCst) < 4 {
        publisher.publish(&"first".to_owned()).await.unwrap();
        assert!(began.elapsed() < PATIENCE);
    }
    let publishing = tokio::spawn(async move {
        let mut published = 0;
        loop {
            publisher
                .publish(&"a".to_owned())
                .await
                .map_err(|error| format!("{published}: {error}"))?;
            published += 1;
            if published == 1_000_000 {
                return Ok::<_, String>(());
            }
        }
    });
    for subscription in open {
        subscription.stop(Duration::from_secs(5)).await;
    }
    publishing.abort();
    match publishing.await {
        Ok(ended) => ended.unwrap(),
        Err(error) => assert!(error.is_cancelled(), "{error}"),
    }
}
