//! Servers that refuse us, streams and consumers that differ.

use std::time::Duration;

use micro_runtime::ErrorKind;
use micro_runtime::broker::{Message, Nats, Topic};
use micro_runtime::transport::ClientTls;
use micro_tests::authority::Authority;
use micro_tests::nats::{Hub, NEW, OLD, Raw};

use crate::kit::{
    LEAST, LONG, ONCE, broker, close, next, number, numbered, publish, refused, subscribe, topic,
    try_publish,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_are_wrong() {
    let hub = Hub::with(
        NEW,
        &[
            "-js",
            "-sd",
            "{dir}/data",
            "--user",
            "me",
            "--pass",
            "s3cr3t",
        ],
    )
    .await;
    let address = hub.address();
    for wrong in [
        format!("nats://{address}"),
        format!("nats://me:oth3r@{address}"),
        format!("nats://{address}?creds=/nowhere/x.creds"),
    ] {
        let ours = Nats::new([&wrong]);
        for wanted in [Topic::new("t"), topic("t").queue("q"), topic("t")] {
            let error = refused(&ours, &wanted).await;
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!error.to_string().contains("oth3r"));
        }
        for delivery in [ONCE, LEAST] {
            let error = try_publish(&ours, numbered("t", 1), delivery, LONG).await;
            assert_eq!(error.unwrap_err().kind(), ErrorKind::Config);
        }
        assert!(!format!("{ours:?}").contains("oth3r"));
    }
    let ours = Nats::new([format!("nats://me:s3cr3t@{address}")]);
    let mut consumer = subscribe(&ours, &topic("t").queue("q")).await;
    let set = Nats::new([&address]).credentials("me", "s3cr3t");
    publish(&set, numbered("t", 1), LEAST).await;
    assert_eq!(number(&next(&mut consumer).await), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_user_may_not_do() {
    let users = r#"
        jetstream { store_dir: "{dir}/data" }
        authorization { users: [
            { user: all, password: x }
            { user: some, password: x, permissions: {
                publish: ["ok.>", "_INBOX.>"], subscribe: ["ok.>", "_INBOX.>"] } }
            { user: mute, password: x, permissions: { publish: ["ok.>"], subscribe: ["ok.>"] } }
            { user: own, password: x, permissions: {
                publish: ["ok.>", "mine.>", "$JS.API.>", "$JS.ACK.>"], subscribe: ["ok.>", "mine.>"] } }
        ] }"#;
    let hub = Hub::configured(NEW, users).await;
    let of = |user: &str| Nats::new([format!("nats://{user}:x@{}", hub.address())]);
    let some = of("some");
    let mut consumer = subscribe(&some, &Topic::new("ok.t")).await;
    publish(&some, numbered("ok.t", 1), ONCE).await;
    assert_eq!(number(&next(&mut consumer).await), 1);
    for wanted in [Topic::new("no.t"), topic("ok.t").queue("q")] {
        let error = refused(&some, &wanted).await;
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("needs permission"), "{error}");
    }
    for (name, delivery) in [("no.t", ONCE), ("no.t", ONCE), ("ok.t", LEAST)] {
        let error = try_publish(&some, numbered(name, 1), delivery, LONG).await;
        let error = error.unwrap_err();
        println!("{error}");
        assert_eq!(error.kind(), ErrorKind::Config);
    }
    // It goes on for what is allowed.
    publish(&some, numbered("ok.t", 2), ONCE).await;
    assert_eq!(number(&next(&mut consumer).await), 2);
    let error = try_publish(&of("mute"), numbered("ok.t", 1), ONCE, LONG).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Config);
    let own = of("own").inbox_prefix("mine");
    let mut consumer = subscribe(&own, &topic("ok.t").queue("q")).await;
    publish(&own, numbered("ok.t", 3), LEAST).await;
    let event = next(&mut consumer).await;
    assert_eq!(number(&event), 3);
    event.ack().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jetstream_is_not_enabled() {
    for program in [NEW, OLD] {
        let hub = Hub::start(program).await;
        let ours = broker(&hub);
        let error = refused(&ours, &topic("t").queue("q")).await;
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(
            error.to_string().contains("start the server with -js"),
            "{error}"
        );
        let error = try_publish(&ours, numbered("t", 1), LEAST, LONG)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(
            error.to_string().contains("Delivery::AtMostOnce"),
            "{error}"
        );
        publish(&ours, numbered("t", 1), ONCE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_and_consumers_that_differ() {
    for program in [NEW, OLD] {
        let hub = Hub::jetstream(program).await;
        let ours = broker(&hub);
        let consumer = subscribe(&ours, &topic("t").queue("q")).await;
        // Another member that expects otherwise.
        let other = topic("t").queue("q").ack_wait(Duration::from_secs(7));
        let error = refused(&ours, &other).await;
        assert_eq!(error.kind(), ErrorKind::Config);
        for part in ["q@t", "expected ack_wait 7s, found 30s", "nats consumer rm"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        // The first one is none the worse.
        let mut consumer = consumer;
        publish(&ours, numbered("t", 1), LEAST).await;
        next(&mut consumer).await.ack().await.unwrap();
        close(consumer).await;
        // A stream that is not as it is to be.
        let other = broker(&hub).max_age(Duration::from_secs(60));
        for error in [
            refused(&other, &topic("t")).await,
            try_publish(&other, numbered("t", 1), LEAST, LONG)
                .await
                .unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(
                error.to_string().contains("expected max_age 60s"),
                "{error}"
            );
        }
        let error = refused(&broker(&hub).stream("OTHER", ["t"]), &topic("t")).await;
        assert!(
            error
                .to_string()
                .contains("expected the stream OTHER, found micro-t"),
            "{error}"
        );
        // One that is in memory keeps no promise, unless that is what was asked for.
        let memory = broker(&hub).memory_storage(true);
        publish(&memory, numbered("m", 1), LEAST).await;
        let error = refused(&ours, &topic("m")).await;
        assert!(
            error
                .to_string()
                .contains("expected storage file, found memory"),
            "{error}"
        );
        // A user's stream that does not acknowledge.
        let mut raw = Raw::connect(&hub.address()).await;
        let stream = r#"{"name":"MUTE","subjects":["mute.>"],"retention":"limits","storage":"file","discard":"old",
            "num_replicas":1,"max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"no_ack":true}"#;
        raw.subscribe("answers", 1).await;
        raw.ask("$JS.API.STREAM.CREATE.MUTE", "answers", stream.as_bytes())
            .await;
        let (_, _, made) = raw.message().await;
        assert!(made["error"].is_null(), "{made}");
        let error = try_publish(&ours, numbered("mute.a", 1), LEAST, LONG)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("no_ack"), "{error}");
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_too_large() {
    let hub = Hub::jetstream(NEW).await;
    let ours = broker(&hub);
    for delivery in [ONCE, LEAST] {
        let large = Message::new("t", vec![0; 1024 * 1024]);
        let error = try_publish(&ours, large, delivery, LONG).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(
            error.to_string().contains("at most 1048576 bytes"),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls() {
    let authority = Authority::new();
    authority.sign("server", &["127.0.0.1"]);
    authority.sign("client", &[]);
    let file = |name: &str| authority.file(name);
    let (ca, certificate, key) = (file("ca.pem"), file("server.pem"), file("server.key"));
    let further = [
        "-js",
        "-sd",
        "{dir}/data",
        "--tlsverify",
        "--tlscacert",
        &ca,
        "--tlscert",
        &certificate,
        "--tlskey",
        &key,
    ];
    let hub = Hub::with(NEW, &further).await;
    let address = hub.address();
    let (certificate, key) = (file("client.pem"), file("client.key"));
    let url = format!("tls://{address}?ca={ca}&cert={certificate}&key={key}");
    let ours = Nats::try_new([url]).unwrap();
    let mut consumer = subscribe(&ours, &topic("t").queue("q")).await;
    let tls = ClientTls::new()
        .ca_file(&ca)
        .identity_files(&certificate, &key);
    let set = Nats::new([&address]).tls(tls);
    publish(&set, numbered("t", 1), LEAST).await;
    assert_eq!(number(&next(&mut consumer).await), 1);
    let other = file("other.pem");
    for wrong in [
        format!("tls://{address}?ca={other}"),
        format!("nats://{address}"),
    ] {
        let error = refused(&Nats::new([&wrong]), &Topic::new("t")).await;
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    }
}
