//! The contract itself, on the tests' own broker: what keeps its promises passes, and what does not fails.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use micro_runtime::broker::Delivery;
use micro_tests::broker_contract::{self, Abilities};
use micro_tests::servers::free_ports;
use micro_tests::small_broker::{Careless, Server, Small};
use tokio::net::{TcpListener, TcpStream};

/// A server in this process; its address.
async fn server(careless: Careless) -> String {
    let [port] = free_ports();
    let address = format!("127.0.0.1:{port}");
    let file = std::env::temp_dir().join(format!("micro-small-{}-{port}", std::process::id()));
    // Numbers of processes and ports come again, in a namespace of one's own every time.
    let _ = std::fs::remove_file(&file);
    let to = address.clone();
    tokio::spawn(async move { Server::serve(&to, &file, careless).await });
    let listening = async { while TcpStream::connect(&address).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(10), listening)
        .await
        .expect("the server listens");
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    let address = server(Careless::No).await;
    let cases = broker_contract::run("small", || Small::new(&address), Abilities::default()).await;
    assert!(cases >= 40, "expected at least 40 cases, found {cases}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gives_up_in_time() {
    let both = [Delivery::AtMostOnce, Delivery::AtLeastOnce];
    let [port] = free_ports();
    let away = format!("127.0.0.1:{port}");
    broker_contract::unreachable("small away", || Small::new(&away), &both).await;
    // One that takes connections and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap().to_string();
    broker_contract::unreachable("small silent", || Small::new(&silent), &both).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hands_out_once_breaks_the_contract() {
    let address = server(Careless::HandsOutOnce).await;
    let able = Abilities {
        at_most_once: false,
        patience: Duration::from_secs(1),
        ..Abilities::default()
    };
    let local = tokio::task::LocalSet::new();
    let running = local.spawn_local(async move {
        broker_contract::run("careless (has to fail)", || Small::new(&address), able).await
    });
    local.await;
    let error = running.await.expect_err("the contract fails");
    let payload = AssertUnwindSafe(error.into_panic()).0;
    let text = payload.downcast_ref::<String>().expect("it says why");
    for case in [
        "in-flight bound",
        "retry",
        "return",
        "a member dropped",
        "close",
    ] {
        assert!(
            text.lines()
                .any(|line| line.starts_with(&format!("{case}: "))),
            "expected {case:?} to fail, found {text}"
        );
    }
}
