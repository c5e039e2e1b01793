//! Memory.

use micro_runtime::broker::Memory;
use micro_tests::broker_contract::{self, Abilities};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_keeps_the_contract() {
    let memory = Memory::new();
    broker_contract::run("memory", || memory.clone(), Abilities::default()).await;
}
