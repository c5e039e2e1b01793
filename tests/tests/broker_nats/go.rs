//! go-micro on the other end.

use micro_runtime::broker::Nats;
use micro_tests::events;
use micro_tests::nats::{Hub, NEW};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_between_go_micro_and_us() {
    let hub = Hub::start(NEW).await;
    let make = || Nats::new([hub.address()]);
    let cases = events::go("nats", &hub.address(), make).await;
    assert_eq!(cases, 36);
}
