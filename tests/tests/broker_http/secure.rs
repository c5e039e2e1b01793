//! TLS.

use micro_runtime::broker::{Http, Topic};
use micro_runtime::registry::Memory;
use micro_runtime::transport::{ClientTls, ServerTls};
use micro_tests::certs::{Authority, Wish};
use micro_tests::events::{Acking, publish};

use super::{broker, entry, message, post, say};

#[tokio::test]
async fn events_go_by_https() {
    let authority = Authority::new("events");
    let identity = authority.sign(Wish::good());
    let tls =
        ServerTls::from_pem(&identity.certificate, &identity.key).client_ca_pem(&authority.pem);
    let registry = Memory::new();
    let ours = broker(&registry).tls(tls);
    let mut open = Acking::subscribe(&ours, &Topic::new("t")).await.unwrap();
    let node = entry(&registry).await;
    assert_eq!(
        node.metadata.get("secure").map(String::as_str),
        Some("true")
    );
    let known = ClientTls::new()
        .ca_pem(&authority.pem)
        .identity_pem(&identity.certificate, &identity.key);
    let publisher = broker(&registry).client_tls(known);
    for _ in 0..3 {
        publish(&publisher, message("t")).await.unwrap();
        open.next().await.unwrap();
    }
    // Who trusts another authority, or shows no certificate, does not get through.
    let stranger = Authority::new("others");
    for (tls, why) in [
        (ClientTls::new().ca_pem(&stranger.pem), "certificate"),
        (ClientTls::new().insecure_skip_verify(), "certificate"),
    ] {
        let publisher = Http::new().registry(registry.clone()).client_tls(tls);
        let words = publish(&publisher, message("t")).await;
        let words = words.unwrap_err().to_string();
        assert!(words.contains(why), "{words}");
    }
    let answer = say(&node.address, &post(&node.id, "{}")).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(open.events.try_recv().is_err());
}
