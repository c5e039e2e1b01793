//! The registry `nats` against real servers, of both generations.

mod login;
mod others;
mod outage;
mod secure;

use std::time::Duration;

use micro_tests::contract::{self, Abilities};

use micro_tests::nats::{Hub, NEW, OLD};

fn able() -> Abilities {
    Abilities {
        expiry: Some(Duration::from_secs(3)),
        ..Abilities::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_on_2_15() {
    let hub = Hub::start(NEW).await;
    contract::run("nats 2.15", || hub.registry(), able()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_on_2_9() {
    let hub = Hub::start(OLD).await;
    contract::run("nats 2.9", || hub.registry(), able()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn go_sees_us_and_we_see_go() {
    let hub = Hub::start(NEW).await;
    contract::go("nats", &hub.address(), || hub.registry()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line() {
    let hub = Hub::start(NEW).await;
    contract::cli("nats", &hub.address(), || hub.registry(), &[]).await;
}
