//! An agent that speaks TLS, and wants a certificate of its clients.

use std::time::{Duration, Instant};

use micro_runtime::registry::{Consul, Registry};
use micro_runtime::transport::ClientTls;
use micro_tests::authority::Authority;

use crate::agent::Agent;
use crate::{ids, next, service};

const TTL: Duration = Duration::from_secs(60);

/// How long an address that cannot work may take to say so.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_both_ways() {
    let authority = Authority::new();
    authority.sign("server", &["127.0.0.1", "localhost"]);
    authority.sign("client", &[]);
    let (agent, port) = Agent::secure(&authority).await;
    let address = format!("127.0.0.1:{port}");
    let [ca, other, certificate, key] =
        ["ca.pem", "other.pem", "client.pem", "client.key"].map(|name| authority.file(name));
    let identity = format!("cert={certificate}&key={key}");

    // By the address alone, as a flag or a variable says it.
    let ours = Consul::new([format!("https://{address}?ca={ca}&{identity}")]);
    // In code, without a scheme and with one.
    let tls = ClientTls::new()
        .ca_file(&ca)
        .identity_files(&certificate, &key);
    let theirs = Consul::new([&address]).tls(tls.clone());
    let named = Consul::new([format!("https://localhost:{port}")]).tls(tls.clone());
    let mut watcher = theirs.watch(Some("a")).await.unwrap();
    ours.register(&service("a", "1"), TTL).await.unwrap();
    assert_eq!(next(&mut watcher).await, (true, "a-1".to_owned()));
    assert_eq!(ids(&named.get("a").await.unwrap()), ["a-1"]);
    // Renewed: the check, not the node.
    ours.register(&service("a", "1"), TTL).await.unwrap();
    ours.deregister(&service("a", "1")).await.unwrap();
    assert_eq!(next(&mut watcher).await, (false, "a-1".to_owned()));

    let secure = format!("https://{address}");
    for (address, why) in [
        // No certificate of ours; none of theirs that we know; another name; all at once.
        (format!("{secure}?ca={ca}"), "requires a certificate"),
        (
            format!("{secure}?ca={other}&{identity}"),
            "not trusted here",
        ),
        (
            format!("{secure}?ca={ca}&{identity}&server_name=consul.example"),
            "consul.example",
        ),
        (secure.clone(), "not trusted here"),
        // A certificate that is no certificate, and a file that is not there.
        (format!("{secure}?ca={key}&{identity}"), "client.key"),
        (format!("{secure}?ca=/none/ca.pem"), "/none/ca.pem"),
        // Plain text where TLS is spoken, and the reverse.
        (format!("http://{address}"), "https://"),
        (
            format!("https://{}?ca={ca}&{identity}", agent.address()),
            "plain text on this port, not TLS",
        ),
    ] {
        let registry = Consul::new([&address]);
        let begun = Instant::now();
        let error = registry.get("a").await.unwrap_err().to_string();
        println!("{address}: {error}");
        assert!(error.contains(why), "expected {why:?} in {error}");
        assert!(registry.register(&service("b", "1"), TTL).await.is_err());
        assert!(registry.watch(None).await.is_err());
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        registry.deregister(&service("b", "1")).await.unwrap_err();
    }
    // It says so after the handshake, while the request is being written: whichever comes first, the error is this.
    for _ in 0..20 {
        let registry = Consul::new([format!("{secure}?ca={ca}")]);
        let error = registry.get("a").await.unwrap_err().to_string();
        assert!(error.contains("requires a certificate"), "{error}");
    }
    // An address that asks for plain text is not one for TLS.
    let error = Consul::try_new([format!("http://{address}")])
        .map(|consul| consul.tls(tls))
        .unwrap()
        .get("a")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("write https://"), "{error}");
}
