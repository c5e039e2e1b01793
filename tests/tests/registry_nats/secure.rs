//! TLS to a NATS server, with an authority of our own.

use std::path::Path;
use std::time::Duration;

use micro_runtime::registry::{Nats, Registry};
use micro_runtime::transport::ClientTls;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use crate::server::{Hub, NEW};
use micro_tests::expect::{ids, service};

const TTL: Duration = Duration::from_secs(90);

/// Writes `ca.pem`, and `NAME.pem` with `NAME.key` for each of these, into a new folder.
fn certificates(names: &[&str]) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("micro-nats-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    write("ca.pem", params.self_signed(&key).unwrap().pem());
    let issuer = Issuer::new(params, key);
    for name in names {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        write(
            &format!("{name}.pem"),
            params.signed_by(&key, &issuer).unwrap().pem(),
        );
        write(&format!("{name}.key"), key.serialize_pem());
    }
    folder
}

fn text(folder: &Path, name: &str) -> String {
    folder.join(name).to_string_lossy().into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_those_who_are_known_get_in() {
    let folder = certificates(&["server", "client"]);
    let file = |name: &str| text(&folder, name);
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
    // No certificate of ours; an authority that is not theirs; no TLS in the address, though the server wants it.
    for bad in [
        format!("tls://{address}?ca={ca}"),
        format!("tls://{address}"),
        format!("nats://{address}"),
    ] {
        let registry = Nats::new([&bad]).timeout(Duration::from_secs(1));
        let error = registry.get("a").await.unwrap_err().to_string();
        let why = ["certificate", "Certificate", "TLS", "tls"];
        assert!(why.iter().any(|why| error.contains(why)), "{bad}: {error}");
    }
    // TLS to a server that has none.
    let plain = Hub::start(NEW).await;
    let registry =
        Nats::new([format!("tls://{}", plain.address())]).timeout(Duration::from_secs(1));
    let error = registry.get("a").await.unwrap_err().to_string();
    println!("TLS to a plain server: {error}");
    std::fs::remove_dir_all(folder).unwrap();
}
