//! The registry `mdns` on the loopback interface. It needs no server; its siblings here do.

use micro_runtime::registry::Mdns;
use micro_tests::contract::{self, Abilities};

/// What the system calls the loopback interface.
const LOOPBACK: &str = if cfg!(target_os = "macos") {
    "lo0"
} else {
    "lo"
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    let abilities = Abilities {
        // Neither has room in a TXT record.
        service_metadata: false,
        large: false,
        list_nodes: false,
        // Records of the dead go two minutes after they were last heard (RFC 6762, section 10); the simulation
        // of the registry itself waits for that, in paused time.
        expiry: None,
        ..Abilities::default()
    };
    contract::run("mdns", || Mdns::new().loopback_only(), abilities).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_works_over_it() {
    let make = || Mdns::new().loopback_only();
    contract::cli("mdns", LOOPBACK, make, &[]).await;
}
