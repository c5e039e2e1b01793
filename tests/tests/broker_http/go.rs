//! go-micro on the other end, found by mDNS.

use micro_runtime::broker::Http;
use micro_runtime::registry::Mdns;
use micro_tests::events;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_between_go_micro_and_us() {
    let make = || Http::new().registry(Mdns::new().loopback_only());
    let cases = events::go("http", "", make).await;
    assert_eq!(cases, 36);
}
