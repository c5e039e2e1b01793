//! Through publishers and subscriptions, as users have them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use micro_runtime::broker::{AnyBroker, Publisher, Topic, subscribe};
use micro_runtime::registry::Memory;
use micro_runtime::{Code, Context, Status};
use micro_tests::events::PATIENCE;

use crate::broker;

/// What a handler says reaches the publisher, and no event is handed out twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_learns_what_became_of_its_event() {
    let registry = Memory::new();
    let (theirs, ours) = (broker(&registry), broker(&registry));
    let runs = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&runs);
    let subscription = subscribe(
        &AnyBroker::new(theirs),
        Topic::new("t").concurrency(4),
        move |_: Context, text: String| {
            seen.fetch_add(1, Ordering::Relaxed);
            async move {
                match text.as_str() {
                    "bad" => Err(Status::new(Code::Internal, "it cannot be")),
                    _ => Ok(()),
                }
            }
        },
    )
    .unwrap();
    subscription.ready().await.unwrap();

    let publisher = Publisher::<String>::new(&AnyBroker::new(ours), "t").timeout(PATIENCE);
    for _ in 0..20 {
        publisher.publish(&"good".to_owned()).await.unwrap();
    }
    let error = publisher.publish(&"bad".to_owned()).await.unwrap_err();
    assert!(error.to_string().contains("did not take"), "{error}");
    assert_eq!(runs.load(Ordering::Relaxed), 21);
    let stats = subscription.stats();
    assert_eq!((stats.handled, stats.failed, stats.received), (20, 1, 21));
}
