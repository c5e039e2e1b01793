//! The contract of registries, kept by those that need no server.

use micro_runtime::registry::Memory;
use micro_tests::contract::{self, Abilities};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory() {
    let shared = Memory::new();
    let abilities = Abilities {
        // It is a map: nodes whose client is dropped go at the end of their time.
        ..Abilities::default()
    };
    contract::run("memory", || shared.clone(), abilities).await;
}
