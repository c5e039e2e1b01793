//! HTTP without a broker, over a registry that all of them share.

use micro_runtime::broker::Http;
use micro_runtime::registry::Memory;
use micro_tests::broker_contract::{self, Abilities};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_keeps_the_contract() {
    let registry = Memory::new();
    let make = || Http::new().registry(registry.clone());
    let able = Abilities {
        at_least_once: false,
        answers: true,
        // By the registry.
        known_at_once: false,
        ..Abilities::default()
    };
    broker_contract::run("http", make, able).await;
}
