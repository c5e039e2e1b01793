//! A member that speaks TLS alone, and wants a certificate of its clients.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use micro_runtime::registry::{Etcd, Registry};
use micro_runtime::transport::ClientTls;
use micro_tests::servers::free_ports;

use crate::kit::{VERSIONS, View, healthy, nodes, program_at, service};

const TTL: Duration = Duration::from_secs(60);

/// Makes an authority `ca.crt` and a certificate `both.crt` of it, for 127.0.0.1 and for clients; and `other.crt`,
/// an authority that signed neither.
fn certificates(folder: &Path) {
    let openssl = |arguments: &str| {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(folder)
            .output()
            .expect("openssl is not installed");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {error}");
    };
    let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30";
    openssl(&format!("{new} -subj /CN=ca -keyout ca.key -out ca.crt"));
    openssl(&format!(
        "{new} -subj /CN=other -keyout other.key -out other.crt"
    ));
    let names = "subjectAltName=IP:127.0.0.1,DNS:localhost";
    openssl(&format!(
        "{new} -subj /CN=both -CA ca.crt -CAkey ca.key -keyout both.key -out both.crt -addext {names} \
         -addext extendedKeyUsage=serverAuth,clientAuth -addext basicConstraints=critical,CA:false"
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_both_ways() {
    for version in VERSIONS {
        let [port, peers, health] = free_ports();
        let program = program_at(version, "t", &format!("https://127.0.0.1:{port}"), peers);
        let folder = program.folder().to_owned();
        certificates(&folder);
        let _server = program
            .args(["--cert-file={dir}/both.crt", "--key-file={dir}/both.key"])
            .args(["--trusted-ca-file={dir}/ca.crt", "--client-cert-auth"])
            .arg(format!("--initial-cluster=t=http://127.0.0.1:{peers}"))
            .arg(format!("--listen-metrics-urls=http://127.0.0.1:{health}"))
            .start(healthy(health))
            .await;
        let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let (ca, cert, key) = (file("ca.crt"), file("both.crt"), file("both.key"));
        let address = format!("127.0.0.1:{port}");

        // By the address alone, as a flag or a variable says it.
        let ours = Etcd::new([format!("etcds://{address}?ca={ca}&cert={cert}&key={key}")]);
        ours.register(&service("a", "1", 1), TTL).await.unwrap();
        // In code.
        let tls = ClientTls::new().ca_file(&ca).identity_files(&cert, &key);
        let theirs = Etcd::new([&address]).tls(tls.clone());
        let mut view = View::of(&theirs, "a").await;
        assert_eq!(view.nodes.len(), 1);
        ours.deregister(&service("a", "1", 1)).await.unwrap();
        view.becomes(&nodes(&theirs, "a").await).await;

        for (registry, why) in [
            (
                Etcd::new([format!("https://{address}?ca={ca}")]),
                "certificate",
            ),
            (
                Etcd::new([format!("https://{address}?ca={}", file("other.crt"))]),
                "certificate",
            ),
            (Etcd::new([format!("https://{address}")]), "certificate"),
            (
                Etcd::new([format!(
                    "https://{address}?ca={ca}&cert={cert}&key={key}&server_name=etcd.example"
                )]),
                "certificate",
            ),
            (Etcd::new([format!("http://{address}")]), "HTTP/2"),
            // An address that asks for plain text gets it, whatever was set in code.
            (
                Etcd::new([format!("http://{address}")]).tls(tls.clone()),
                "HTTP/2",
            ),
        ] {
            let begun = Instant::now();
            let error = registry.get("a").await.unwrap_err().to_string();
            println!("{version}: {error}");
            assert!(error.contains(why), "expected {why:?} in {error}");
            assert!(begun.elapsed() < Duration::from_secs(10));
        }
    }
}
