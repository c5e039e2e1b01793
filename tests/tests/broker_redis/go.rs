//! go-micro on the other end.

use micro_tests::events;

use crate::server::Store;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_between_go_micro_and_us() {
    let store = Store::start().await;
    let cases = events::go("redis", &store.address(), || store.broker()).await;
    assert_eq!(cases, 9);
}
