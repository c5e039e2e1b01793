//! Calls that wait for a node are woken when there is one.

use tokio::time::{Instant, sleep};

use super::nodes::named;
use super::*;
use crate::client::plan::Wait;
use crate::deadline::Deadline;
use crate::selector::News;

async fn register(registry: &Memory, address: &str) {
    let node = Node {
        id: address.into(),
        address: address.into(),
        ..Node::default()
    };
    let service = registry::Service {
        name: "echo".into(),
        nodes: vec![node],
        ..registry::Service::default()
    };
    registry.register(&service, Duration::ZERO).await.unwrap();
}

/// Calls that wait, at different stages of it, and when they ended.
fn waiting(target: &Target) -> tokio::task::JoinSet<Instant> {
    let mut calls = tokio::task::JoinSet::new();
    for call in 0..50 {
        let target = target.clone();
        calls.spawn(async move {
            sleep(Duration::from_millis(call * 97)).await;
            let call = target.unary(&ECHO, String::new()).wait_for_ready(true);
            call.timeout(Duration::from_secs(60)).await.unwrap();
            Instant::now()
        });
    }
    calls
}

async fn at_once(calls: tokio::task::JoinSet<Instant>, since: Instant) {
    let ended = calls.join_all().await;
    let late = ended
        .iter()
        .map(|ended| ended.saturating_duration_since(since));
    let late = late.max().unwrap();
    assert!(late <= Duration::from_millis(1), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_appears_wakes_them_at_once() {
    let network = Network::default();
    network.serve("a:1", named("a"));
    let registry = registry(&[]).await;
    let target = client_of(&network, registry.clone()).target("echo");
    let calls = waiting(&target);
    sleep(Duration::from_millis(10_013)).await;
    register(&registry, "a:1").await;
    at_once(calls, Instant::now()).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_joins_those_that_refuse_wakes_them_at_once() {
    let network = Network::default();
    network.serve("b:1", named("b"));
    let registry = registry(&["a:1"]).await;
    let target = client_of(&network, registry.clone()).target("echo");
    let calls = waiting(&target);
    sleep(Duration::from_millis(10_013)).await;
    register(&registry, "b:1").await;
    at_once(calls, Instant::now()).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_back_wakes_them_at_once() {
    // Of two one is put aside, and by chance it is the one that comes back, or the other.
    for _ in 0..10 {
        let network = Network::default();
        let target = client(&network, &["a:1", "b:1"]).await.target("echo");
        let calls = waiting(&target);
        sleep(Duration::from_millis(10_013)).await;
        let (sender, mut arrivals) = line();
        let app = script(move |exchange: Exchange| {
            sender.send(Instant::now()).unwrap();
            async move { reply(exchange.reply, "") }
        });
        network.put("a:1", Site::Slow(Duration::from_millis(333), app));
        at_once(calls, network.connects().await).await;
        let first = arrivals.recv().await.unwrap();
        assert!(first - network.connects().await <= Duration::from_millis(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_by_name_waits_for_its_service_too() {
    let network = Network::default();
    network.serve("a:1", |exchange: Exchange| async move {
        let path = exchange.head.path().to_owned();
        reply(exchange.reply, &path);
    });
    let registry = registry(&[]).await;
    let client = client_of(&network, registry.clone());
    let call = client.request("echo", "Echo.Say").wait_for_ready(true);
    let call = call.timeout(Duration::from_secs(60));
    let call = tokio::spawn(call.bytes("application/grpc", Bytes::new()));
    sleep(Duration::from_millis(10_013)).await;
    register(&registry, "a:1").await;
    let start = Instant::now();
    assert_eq!(call.await.unwrap().unwrap(), framed("/Echo/Say")[PREFIX..]);
    assert!(start.elapsed() <= Duration::from_millis(1));
    // It ends with its time, and does not wait unless it is to.
    let call = client.request("nobody", "Echo.Say").wait_for_ready(true);
    let call = call.timeout(Duration::from_secs(3));
    let start = Instant::now();
    let status = call.bytes("application/grpc", Bytes::new()).await;
    assert_eq!(status.unwrap_err().code(), crate::Code::DeadlineExceeded);
    assert!(start.elapsed() <= Duration::from_millis(3001));
    let call = client.request("nobody", "Echo.Say");
    let status = call.bytes("application/grpc", Bytes::new()).await;
    assert_eq!(status.unwrap_err().code(), crate::Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn much_news_does_not_keep_a_call_busy() {
    let target = client(&Network::default(), &[]).await.target("echo");
    let ready = target
        .balancer()
        .ready(Deadline::after(Duration::from_secs(1)));
    let no_node = ready.await.unwrap_err();
    let (says, news) = News::pair();
    let mut wait = Wait::new(news);
    let start = Instant::now();
    let chatter = tokio::spawn(async move {
        loop {
            says.send_replace(());
            sleep(Duration::from_millis(1)).await;
        }
    });
    let mut looks = 0;
    while start.elapsed() < Duration::from_secs(10) {
        wait.again(&no_node).await;
        looks += 1;
    }
    assert!((20..=45).contains(&looks), "{looks}");
    chatter.abort();
    let _ = chatter.await;
    // When it is quiet: by itself, once a second.
    let start = Instant::now();
    for _ in 0..10 {
        wait.again(&no_node).await;
    }
    assert!(
        start.elapsed() >= Duration::from_millis(7200),
        "{:?}",
        start.elapsed()
    );
}
