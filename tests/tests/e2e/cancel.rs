//! Deadlines and cancellation over one hop.

use std::time::{Duration, Instant};

use micro_runtime::Code;
use micro_tests::peer::v1::{PeerService, Req};

use crate::support::{PATIENCE, in_time, peer_over_tcp};

/// Far longer than any test runs.
const AGES: i64 = 3_600_000;

fn lasting(name: &str) -> Req {
    Req {
        name: name.to_owned(),
        count: -1,
        millis: AGES,
        ..Req::default()
    }
}

/// What became of the handler of this name, once it has begun (`started`) or ended.
async fn state(peer: &PeerService, name: &str, started: bool) -> String {
    let request = Req {
        name: name.to_owned(),
        tags: started.then(|| "started".to_owned()).into_iter().collect(),
        millis: i64::try_from(PATIENCE.as_millis()).unwrap(),
        ..Req::default()
    };
    in_time(peer.last_cancelled(request).timeout(None))
        .await
        .unwrap()
        .msg
}

#[tokio::test]
async fn a_deadline_ends_a_call_on_both_sides() {
    let (_running, peer) = peer_over_tcp().await;
    let begun = Instant::now();
    let call = peer
        .sleep(lasting("late"))
        .timeout(Duration::from_millis(200));
    let status = in_time(call).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert_eq!(state(&peer, "late", false).await, "cancelled");

    let call = peer
        .count(lasting("stream"))
        .timeout(Duration::from_millis(200));
    let mut numbers = in_time(call).await.unwrap();
    in_time(numbers.recv()).await.unwrap().unwrap();
    let status = in_time(numbers.recv()).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert_eq!(state(&peer, "stream", false).await, "cancelled");

    // One that has passed already reaches nobody.
    let status = in_time(peer.sleep(lasting("never")).timeout(Duration::ZERO)).await;
    assert_eq!(status.unwrap_err().code(), Code::DeadlineExceeded);
    let request = Req {
        name: "never".to_owned(),
        ..Req::default()
    };
    assert_eq!(peer.last_cancelled(request).await.unwrap().msg, "unknown");
}

#[tokio::test]
async fn dropping_a_call_cancels_its_handler() {
    let (_running, peer) = peer_over_tcp().await;
    let call = tokio::spawn(peer.sleep(lasting("unary")).timeout(None));
    assert_eq!(state(&peer, "unary", true).await, "running");
    call.abort();
    assert_eq!(state(&peer, "unary", false).await, "cancelled");

    let mut numbers = peer.count(lasting("stream")).await.unwrap();
    in_time(numbers.recv()).await.unwrap().unwrap();
    drop(numbers);
    assert_eq!(state(&peer, "stream", false).await, "cancelled");

    // The connection is still good.
    peer.unary(Req::default()).await.unwrap();
}

#[tokio::test]
async fn dropping_a_half_of_a_stream_unfinished_cancels_it() {
    let (_running, peer) = peer_over_tcp().await;
    let (mut requests, mut replies) = peer.chat().await.unwrap();
    requests.send(lasting("requests")).await.unwrap();
    in_time(replies.recv()).await.unwrap().unwrap();
    drop(requests);
    assert_eq!(state(&peer, "requests", false).await, "cancelled");
    let status = in_time(replies.recv()).await.unwrap_err();
    assert_eq!(status.code(), Code::Cancelled);

    let (mut requests, replies) = peer.chat().await.unwrap();
    requests.send(lasting("replies")).await.unwrap();
    assert_eq!(state(&peer, "replies", true).await, "running");
    drop(replies);
    assert_eq!(state(&peer, "replies", false).await, "cancelled");
    let status = in_time(async {
        loop {
            if let Err(status) = requests.send(Req::default()).await {
                return status;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(status.await.code(), Code::Cancelled);

    let mut names = peer.collect().await.unwrap();
    names.send(Req::default()).await.unwrap();
    drop(names);
    peer.unary(Req::default()).await.unwrap();
}

#[tokio::test]
async fn a_slow_reader_slows_the_sender() {
    let (_running, peer) = peer_over_tcp().await;
    // As fast as it can, without an end, and far more than any window holds if nobody held it back.
    let request = Req {
        name: "fast".to_owned(),
        count: -1,
        ..Req::default()
    };
    let mut numbers = peer.count(request).await.unwrap();
    for number in 0..1000 {
        assert_eq!(
            in_time(numbers.recv()).await.unwrap().unwrap().count,
            number
        );
    }
    // Other calls on the connection go on beside a stream that nobody reads.
    for _ in 0..20 {
        in_time(peer.unary(Req::default())).await.unwrap();
    }
    drop(numbers);
    assert_eq!(state(&peer, "fast", false).await, "cancelled");
}
