//! The end of subscriptions and brokers.

use std::time::Duration;

use micro_runtime::broker::{Broker, Consumer, Topic};
use micro_runtime::registry::Memory;
use micro_tests::events::{Acking, PATIENCE, next, publish};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{broker, entries, entry, message};

#[tokio::test]
async fn running_handlers_are_answered_for() {
    let registry = Memory::new();
    let ours = broker(&registry);
    let mut open = ours.subscribe(&Topic::new("t")).await.unwrap();
    let publisher = broker(&registry);
    let publishing = tokio::spawn(async move { publish(&publisher, message("t")).await });
    let event = next(&mut open).await.unwrap();
    open.close().await;
    assert!(entries(&registry).await.is_empty());
    let closing = tokio::spawn({
        let ours = ours.clone();
        async move { ours.close().await }
    });
    tokio::task::yield_now().await;
    event.ack().await.unwrap();
    closing.await.unwrap();
    publishing.await.unwrap().unwrap();
    assert_eq!(ours.listening().await, None);
}

#[tokio::test]
async fn a_closed_broker_listens_no_more_and_begins_again() {
    let registry = Memory::new();
    let ours = broker(&registry);
    let open = Acking::subscribe(&ours, &Topic::new("t")).await.unwrap();
    let address = entry(&registry).await.address;
    // Not while there is a subscription.
    ours.close().await;
    publish(&broker(&registry), message("t")).await.unwrap();
    assert_eq!(open.close().await.len(), 1);
    let idle = TcpStream::connect(&address).await.unwrap();
    ours.close().await;
    TcpStream::connect(&address).await.unwrap_err();
    drop(idle);
    // A fixed port is free at once.
    let ours = broker(&registry).address(address.clone());
    for _ in 0..3 {
        let open = Acking::subscribe(&ours, &Topic::new("t")).await.unwrap();
        assert_eq!(entry(&registry).await.address, address);
        publish(&ours, message("t")).await.unwrap();
        assert_eq!(open.close().await.len(), 1);
        ours.close().await;
    }
}

#[tokio::test]
async fn dropping_everything_closes_everything() {
    let registry = Memory::new();
    let ours = broker(&registry);
    let open = ours.subscribe(&Topic::new("t")).await.unwrap();
    let address = entry(&registry).await.address;
    drop(ours);
    // The subscription keeps what it needs.
    TcpStream::connect(&address).await.unwrap();
    drop(open);
    let begun = Instant::now();
    while TcpStream::connect(&address).await.is_ok() || !entries(&registry).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(begun.elapsed() < PATIENCE);
    }
}
