//! Credentials, topics that must not be made, and TLS.

use std::time::Duration;

use micro_runtime::broker::{Broker, Delivery, Kafka, Topic};
use micro_runtime::{Deadline, ErrorKind};
use micro_tests::authority::Authority;
use micro_tests::consumer::{message, publish, taken};
use micro_tests::servers::free_ports;

use crate::server::program;

const LEAST: Delivery = Delivery::AtLeastOnce;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_those_with_the_password_get_in() {
    let [port, controller, secured, tls, both] = free_ports();
    let authority = Authority::new();
    authority.sign("server", &["127.0.0.1"]);
    let file = |name: &str| authority.file(name);
    let jaas = "org.apache.kafka.common.security.plain.PlainLoginModule required user_boss=\"right\" user_weak=\"s3cret\";";
    let plain = format!("127.0.0.1:{port}");
    let listeners = format!(
        "PLAINTEXT://{plain},SASL_PLAINTEXT://127.0.0.1:{secured},SSL://127.0.0.1:{tls},SASL_SSL://127.0.0.1:{both},CONTROLLER://127.0.0.1:{controller}"
    );
    let further = [
        format!("listeners={listeners}"),
        format!("advertised.listeners={listeners}"),
        "ssl.keystore.type=PEM".to_owned(),
        format!("ssl.keystore.location={}", file("server.both.pem")),
        "ssl.truststore.type=PEM".to_owned(),
        format!("ssl.truststore.location={}", file("ca.pem")),
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512".to_owned(),
        "SCRAM-SHA-256=[name=boss,password=right]".to_owned(),
        "SCRAM-SHA-512=[name=boss,password=right]".to_owned(),
        format!("listener.name.sasl_plaintext.plain.sasl.jaas.config={jaas}"),
        format!("listener.name.sasl_ssl.plain.sasl.jaas.config={jaas}"),
        scram("sasl_plaintext", 256),
        scram("sasl_plaintext", 512),
        scram("sasl_ssl", 256),
        scram("sasl_ssl", 512),
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned(),
        "super.users=User:boss;User:ANONYMOUS".to_owned(),
    ];
    let _server = program([port, controller], &further)
        .start(crate::server::ready(port))
        .await;
    let address = format!("127.0.0.1:{secured}");
    let good = Kafka::new([format!("kafka://boss:right@{address}")]);
    let mut ours = good
        .subscribe(&Topic::new("t").queue("q").delivery(LEAST))
        .await
        .unwrap();
    publish(&good, "t", "x", LEAST).await;
    assert_eq!(taken(&mut ours).await, "x");
    let bad = Kafka::new([format!("kafka://boss:s3cr@{address}")]);
    let weak = Kafka::new([&address]).credentials("weak", "s3cret");
    refused(&bad, PASSWORD).await;
    // The topic is there, and this user must not even know.
    refused(&weak, "must not make it").await;
    let ca = file("ca.pem");
    let with_tls = Kafka::try_new([format!("kafkas://127.0.0.1:{tls}?ca={ca}")]);
    let with_scram = Kafka::try_new([format!("kafka://boss:right@{address}?sasl=scram-sha-256")]);
    match (with_tls, with_scram) {
        // The library has OpenSSL when the whole build asks for it.
        (Ok(with_tls), Ok(with_scram)) => {
            let right = "boss:right@127.0.0.1";
            let ends = [
                with_tls,
                with_scram,
                Kafka::new([format!("kafka://{right}:{secured}?sasl=SCRAM-SHA-512")]),
                Kafka::new([format!("kafkas://{right}:{both}?ca={ca}")]),
                Kafka::new([format!(
                    "kafkas://{right}:{both}?ca={ca}&sasl=SCRAM-SHA-512"
                )]),
            ];
            for (number, broker) in ends.iter().enumerate() {
                publish(broker, "t", &number.to_string(), LEAST).await;
                assert_eq!(taken(&mut ours).await, number.to_string());
            }
            let (other, wrong) = (file("other.pem"), "boss:s3cr@127.0.0.1");
            for (address, expected) in [
                (
                    format!("kafkas://127.0.0.1:{tls}?ca={other}"),
                    "is not trusted",
                ),
                (format!("kafkas://127.0.0.1:{tls}"), "is not trusted"),
                (
                    format!("kafkas://127.0.0.1:{tls}?ca=/none/such"),
                    "ssl.ca.location failed",
                ),
                (
                    format!("kafkas://{wrong}:{both}?ca={ca}&sasl=SCRAM-SHA-512"),
                    PASSWORD,
                ),
                (
                    format!("kafka://{wrong}:{secured}?sasl=SCRAM-SHA-256"),
                    PASSWORD,
                ),
                (format!("kafkas://{wrong}:{both}?ca={ca}"), PASSWORD),
            ] {
                refused(&Kafka::new([&address]), expected).await;
            }
        }
        (Err(with_tls), Err(with_scram)) => {
            for error in [with_tls, with_scram] {
                println!("{error}");
                assert_eq!(error.kind(), ErrorKind::Unsupported);
                assert!(
                    error.to_string().contains("features = [\"ssl\"]"),
                    "{error}"
                );
            }
        }
        found => panic!("expected both or none of TLS and SCRAM, found {found:?}"),
    }
}

/// Lets users in by SCRAM at a listener.
fn scram(listener: &str, bits: u16) -> String {
    format!(
        "listener.name.{listener}.scram-sha-{bits}.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;"
    )
}

const PASSWORD: &str = "refuses the user or the password";

/// Neither publishes nor subscribes, for this reason, and shows no password.
async fn refused(broker: &Kafka, expected: &str) {
    let begun = std::time::Instant::now();
    let deadline = Deadline::after(Duration::from_secs(20));
    let published = broker.publish(message("t", "x"), LEAST, deadline).await;
    let topic = Topic::new("t").queue("q");
    let subscribing = broker.subscribe(&topic);
    let subscribed = tokio::time::timeout(Duration::from_secs(20), subscribing).await;
    for error in [published.unwrap_err(), subscribed.unwrap().unwrap_err()] {
        println!("{:?}: {error}", begun.elapsed());
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!format!("{error:?} {broker:?}").contains("s3cr"));
    }
}
