//! TLS to a RabbitMQ server, with an authority of our own.

use std::time::Duration;

use micro_runtime::Deadline;
use micro_runtime::broker::{Broker, Message, RabbitMq};
use micro_runtime::transport::ClientTls;
use micro_tests::authority::Authority;
use micro_tests::servers::free_ports;

use crate::kit::{at_least_once, next, publish, text};
use crate::server::Rabbit;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_those_who_are_known_get_in() {
    let authority = Authority::new();
    authority.sign("server", &["127.0.0.1", "localhost"]);
    authority.sign("client", &[]);
    let file = |name: &str| authority.file(name);
    let [port] = free_ports();
    let rabbit = Rabbit::with(&[
        format!("listeners.ssl.1 = 127.0.0.1:{port}"),
        format!("ssl_options.cacertfile = {}", file("ca.pem")),
        format!("ssl_options.certfile = {}", file("server.pem")),
        format!("ssl_options.keyfile = {}", file("server.key")),
        "ssl_options.verify = verify_peer".to_owned(),
        "ssl_options.fail_if_no_peer_cert = true".to_owned(),
    ])
    .await;
    let (ca, certificate, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
    let address = format!("amqps://127.0.0.1:{port}");
    let tls = ClientTls::new()
        .ca_file(&ca)
        .identity_files(&certificate, &key);
    for broker in [
        RabbitMq::new([format!("{address}?ca={ca}&cert={certificate}&key={key}")]),
        RabbitMq::new([format!("127.0.0.1:{port}")]).tls(tls),
    ] {
        let topic = at_least_once("t.a");
        let mut consumer = broker.subscribe(&topic).await.unwrap();
        publish(&broker, &topic, vec![b'x'; 300_000]).await.unwrap();
        assert_eq!(text(&next(&mut consumer).await).len(), 300_000);
    }
    for (bad, why) in [
        (format!("{address}?ca={ca}"), "ertificate"),
        (address.clone(), "not trusted here"),
        (
            format!("amqps://127.0.0.1:{}?ca={ca}", rabbit.port),
            "cannot connect",
        ),
        (format!("amqp://127.0.0.1:{port}"), "cannot connect"),
    ] {
        let deadline = Deadline::after(Duration::from_secs(2));
        let topic = at_least_once("t.a");
        let published = RabbitMq::new([&bad])
            .publish(Message::new("t.a", "x"), topic.level(), deadline)
            .await;
        let error = published.unwrap_err().to_string();
        println!("{bad}: {error}");
        assert!(error.contains(why), "{bad}: expected {why:?} in {error}");
    }
}
