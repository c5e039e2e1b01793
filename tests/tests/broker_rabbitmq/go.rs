//! go-micro on the other end.

use micro_tests::events;

use crate::server::Rabbit;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_between_go_micro_and_us() {
    let rabbit = Rabbit::start().await;
    let cases = events::go("rabbitmq", &rabbit.address(), || rabbit.broker()).await;
    assert_eq!(cases, 36);
}
