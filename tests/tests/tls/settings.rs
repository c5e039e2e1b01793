//! TLS by flags.

use micro_runtime::registry::{Memory, Registry};
use micro_runtime::service::{Running, Service};
use micro_runtime::{Code, Error};
use micro_tests::front;
use micro_tests::front::v1::new_front_service;

use crate::support::{PATIENCE, in_time};
use micro_tests::certs::{Authority, Folder, Wish};

fn by_flags(registry: &Memory, name: &str, flags: &[String]) -> Result<Service, Error> {
    Service::new(name)
        .address("127.0.0.1:0")
        .registry(registry.clone())
        .request_timeout(PATIENCE)
        .init_from(flags.iter().cloned())
}

async fn serve(registry: &Memory, flags: &[String]) -> Running {
    let service = by_flags(registry, "tls.flags", flags).unwrap();
    front::register(service.server(), |ctx, _| async move {
        let peer = ctx.peer_identity();
        let name = peer.and_then(|peer| peer.common_name()).unwrap_or("nobody");
        Ok(front::answer(name))
    })
    .unwrap();
    service.start().await.unwrap()
}

/// A whole fleet with one certificate a service, both ways.
#[tokio::test]
async fn flags_set_both_sides() {
    let (authority, folder, registry) = (Authority::new("fleet"), Folder::new(), Memory::new());
    let ca = folder.write("ca.pem", &authority.pem);
    let flags = |name: &'static str| {
        let identity = authority.sign(Wish::good().common_name(name));
        let (certificate, key) = folder.identity(name, &identity);
        [
            format!("--tls_cert_file={}", certificate.display()),
            format!("--tls_key_file={}", key.display()),
            format!("--tls_client_ca_file={}", ca.display()),
            format!("--tls_ca_file={}", ca.display()),
        ]
    };
    let running = serve(&registry, &flags("server")).await;
    let nodes = registry.get("tls.flags").await.unwrap().remove(0).nodes;
    assert_eq!(
        nodes[0].metadata.get("secure").map(String::as_str),
        Some("true")
    );

    let client = by_flags(&registry, "tls.client", &flags("client")).unwrap();
    let front = new_front_service("tls.flags", client.client());
    let answer = in_time(front.ask(front::question("?"))).await.unwrap();
    assert_eq!(answer.text, "client");

    // By another name than the certificate's.
    let mut other = flags("other").to_vec();
    other.push("--tls_server_name=other.example".to_owned());
    let client = by_flags(&registry, "tls.client", &other).unwrap();
    let front = new_front_service("tls.flags", client.client());
    let status = in_time(front.ask(front::question("?"))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        status.message().contains("expected other.example"),
        "{status}"
    );
    in_time(running.stop()).await.unwrap();
}

#[tokio::test]
async fn without_flags_there_is_no_tls() {
    let registry = Memory::new();
    let _running = serve(&registry, &[]).await;
    let nodes = registry.get("tls.flags").await.unwrap().remove(0).nodes;
    assert_eq!(nodes[0].metadata.get("secure"), None);
    let client = by_flags(&registry, "tls.client", &[]).unwrap();
    let front = new_front_service("tls.flags", client.client());
    let answer = in_time(front.ask(front::question("?"))).await.unwrap();
    assert_eq!(answer.text, "nobody");
}

#[test]
fn what_does_not_fit_is_an_error() {
    let (authority, folder) = (Authority::new("fleet"), Folder::new());
    let (certificate, key) = folder.identity("a", &authority.sign(Wish::good()));
    let (certificate, key) = (certificate.display(), key.display());
    for (flags, why) in [
        (
            vec![format!("--tls_cert_file={certificate}")],
            "--tls_cert_file: expected MICRO_TLS_KEY_FILE (or its flag) beside it, found none".to_owned(),
        ),
        (
            vec![format!("--tls_key_file={key}")],
            "--tls_key_file: expected MICRO_TLS_CERT_FILE (or its flag) beside it, found none".to_owned(),
        ),
        (
            vec![format!("--tls_client_ca_file={certificate}")],
            "--tls_client_ca_file: expected a certificate of the server's (MICRO_TLS_CERT_FILE and MICRO_TLS_KEY_FILE) \
             beside it, found none"
                .to_owned(),
        ),
        (
            vec!["--tls_server_name=a".to_owned()],
            "--tls_server_name: expected a client with TLS (MICRO_TLS_CA_FILE) beside it, found none".to_owned(),
        ),
        (
            vec!["--tls_ca_file=/does/not/exist".to_owned()],
            "cannot read the authorities from /does/not/exist".to_owned(),
        ),
        (
            vec![
                format!("--tls_cert_file={key}"),
                format!("--tls_key_file={key}"),
            ],
            format!("cannot use the certificate in {key}: expected PEM with BEGIN CERTIFICATE, found none"),
        ),
        (
            vec![
                format!("--tls_cert_file={certificate}"),
                format!("--tls_key_file={certificate}"),
            ],
            format!(
                "cannot use the key in {certificate}: expected PEM with BEGIN PRIVATE KEY (PKCS#8, RSA or EC), without a \
                 passphrase, found none"
            ),
        ),
    ] {
        let error = by_flags(&Memory::new(), "tls.flags", &flags).unwrap_err();
        assert_eq!(error.to_string(), why, "{flags:?}");
    }
}
