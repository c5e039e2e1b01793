//! TLS to a NATS server, with an authority of our own.

use std::time::Duration;

use micro_runtime::registry::{Nats, Registry};
use micro_runtime::transport::ClientTls;
use micro_tests::authority::Authority;
use micro_tests::expect::{ids, service};

use micro_tests::nats::{Hub, NEW};

const TTL: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_those_who_are_known_get_in() {
    let authority = Authority::new();
    authority.sign("server", &["127.0.0.1", "localhost"]);
    authority.sign("client", &[]);
    let file = |name: &str| authority.file(name);
    let (ca, certificate, key) = (file("ca.pem"), file("server.pem"), file("server.key"));
    let hub = Hub::with(
        NEW,
        &[
            "--tlsverify",
            "--tlscacert",
            &ca,
            "--tlscert",
            &certificate,
            "--tlskey",
            &key,
        ],
    )
    .await;
    let address = hub.address();
    let (certificate, key) = (file("client.pem"), file("client.key"));
    let good = Nats::new([format!(
        "tls://{address}?ca={ca}&cert={certificate}&key={key}"
    )]);
    good.register(&service("a", "a-1", 1), TTL).await.unwrap();
    let tls = ClientTls::new()
        .ca_file(&ca)
        .identity_files(&certificate, &key);
    let set = Nats::new([&address]).tls(tls);
    assert_eq!(ids(&set, "a").await.unwrap(), ["a-1"]);
    let (other, wrong) = (file("other.pem"), file("server.key"));
    for (bad, why) in [
        (format!("tls://{address}?ca={ca}"), "ertificate"),
        (format!("tls://{address}?ca={other}"), "UnknownIssuer"),
        (format!("tls://{address}"), "UnknownIssuer"),
        // TLS is spoken where the server asks for it, with the system's roots.
        (format!("nats://{address}"), "UnknownIssuer"),
        (
            format!("tls://{address}?ca={wrong}"),
            "expected PEM with BEGIN CERTIFICATE",
        ),
    ] {
        let registry = Nats::new([&bad]).timeout(Duration::from_secs(1));
        let error = registry.get("a").await.unwrap_err().to_string();
        println!("{bad}: {error}");
        assert!(error.contains(why), "{bad}: expected {why:?} in {error}");
    }
    // The certificate of another machine.
    authority.sign("elsewhere", &["nats.example"]);
    let (certificate, key) = (file("elsewhere.pem"), file("elsewhere.key"));
    let elsewhere = Hub::with(NEW, &["--tls", "--tlscert", &certificate, "--tlskey", &key]).await;
    let address = format!("tls://{}?ca={ca}", elsewhere.address());
    let registry = Nats::new([&address]).timeout(Duration::from_secs(1));
    let error = registry.get("a").await.unwrap_err().to_string();
    println!("{address}: {error}");
    assert!(error.contains("nats.example"), "{error}");
    // TLS to a server that has none.
    let plain = Hub::start(NEW).await;
    let registry =
        Nats::new([format!("tls://{}", plain.address())]).timeout(Duration::from_secs(1));
    let error = registry.get("a").await.unwrap_err().to_string();
    assert!(error.contains("write nats://"), "{error}");
}
