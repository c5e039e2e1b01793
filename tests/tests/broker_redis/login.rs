//! Credentials, permissions and TLS.

use std::time::Duration;

use micro_runtime::broker::{Broker, Delivery, Redis, Topic};
use micro_runtime::{Deadline, ErrorKind};
use micro_tests::authority::Authority;
use micro_tests::consumer::{message, publish, taken};

use crate::server::Store;

const LEAST: Delivery = Delivery::AtLeastOnce;
const ONCE: Delivery = Delivery::AtMostOnce;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

async fn refused(broker: &Redis, expected: &str) {
    for delivery in [LEAST, ONCE] {
        let error = broker
            .publish(message("t", "x"), delivery, soon())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        let error = broker
            .subscribe(&Topic::new("t").delivery(delivery))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!format!("{error:?} {broker:?}").contains("s3cr"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_those_with_the_password_get_in() {
    let store = Store::with(|program| {
        program
            .args(["--requirepass", "right"])
            .args(["--user", "weak", "on", ">s3cret", "~x", "&x", "+@all"])
    })
    .await;
    let address = store.address();
    let expected = "refuses the user or the password";
    refused(&store.broker(), expected).await;
    refused(
        &Redis::new([format!("redis://:s3cret@{address}")]),
        expected,
    )
    .await;
    refused(
        &Redis::new([format!("redis://weak:s3cr@{address}")]),
        expected,
    )
    .await;
    refused(
        &store.broker().credentials("weak", "s3cret"),
        "does not allow this user",
    )
    .await;
    for good in [
        Redis::new([format!("redis://:right@{address}")]),
        store.broker().credentials("", "right"),
        store.broker().credentials("default", "right"),
    ] {
        publish(&good, "t", "x", LEAST).await;
    }
    let other = Redis::new([format!("redis://:right@{address}/99")]);
    refused(&other, "no such database").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_our_own_authority() {
    let authority = Authority::new();
    authority.sign("server", &["127.0.0.1"]);
    authority.sign("client", &[]);
    let file = |name: &str| authority.file(name);
    let [tls] = micro_tests::servers::free_ports();
    let store = Store::with(|program| {
        program
            .args([
                "--tls-port",
                &tls.to_string(),
                "--tls-ca-cert-file",
                &file("ca.pem"),
            ])
            .args(["--tls-cert-file", &file("server.pem")])
            .args(["--tls-key-file", &file("server.key")])
    })
    .await;
    let (ca, cert, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
    let good = Redis::new([format!(
        "rediss://127.0.0.1:{tls}?ca={ca}&cert={cert}&key={key}"
    )]);
    let mut queued = good
        .subscribe(&Topic::new("t").queue("q").delivery(LEAST))
        .await
        .unwrap();
    let mut heard = good.subscribe(&Topic::new("t")).await.unwrap();
    publish(&good, "t", "x", LEAST).await;
    assert_eq!(taken(&mut queued).await, "x");
    assert_eq!(taken(&mut heard).await, "x");
    publish(&store.broker(), "t", "plain", LEAST).await;
    assert_eq!(taken(&mut queued).await, "plain");
    let other = file("other.pem");
    for (bad, why) in [
        (
            format!("rediss://127.0.0.1:{tls}?ca={other}&cert={cert}&key={key}"),
            "authority that is not trusted",
        ),
        (format!("rediss://127.0.0.1:{tls}?ca={ca}"), "hung up"),
        (format!("redis://127.0.0.1:{tls}"), ""),
    ] {
        let deadline = Deadline::after(Duration::from_secs(1));
        let error = Redis::new([&bad])
            .publish(message("t", "x"), LEAST, deadline)
            .await;
        let error = error.unwrap_err();
        println!("{bad}: {error}");
        assert!(error.to_string().contains(why), "{bad}: {error}");
    }
}
