//! What every broker must show.

use micro_runtime::broker::Nats;
use micro_tests::broker_contract::{Abilities, run, unreachable};
use micro_tests::nats::{Hub, NEW, OLD};
use micro_tests::servers::free_ports;
use tokio::net::TcpListener;

use crate::kit::{LEAST, ONCE, broker};

fn able() -> Abilities {
    Abilities {
        // Messages of 1 MiB, of which base64 takes a quarter.
        largest: 700 * 1024,
        too_large: Some(1 << 20),
        ..Abilities::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_2_15() {
    let hub = Hub::jetstream(NEW).await;
    run("nats 2.15", || broker(&hub), able()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_2_9() {
    let hub = Hub::jetstream(OLD).await;
    run("nats 2.9", || broker(&hub), able()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_server() {
    let [port] = free_ports();
    let away = format!("127.0.0.1:{port}");
    unreachable("nats away", || Nats::new([&away]), &[ONCE, LEAST]).await;
    // One that takes connections and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap().to_string();
    unreachable("nats silent", || Nats::new([&silent]), &[ONCE, LEAST]).await;
}
