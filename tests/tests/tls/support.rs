//! What the tests share.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use micro_runtime::registry::Memory;
use micro_runtime::service::{Running, ServiceBuilder};
use micro_runtime::transport::{ClientTls, ServerLimits, ServerTls};
use micro_runtime::{Result, Service, Status};
use micro_tests::front;
use micro_tests::front::v1::new_front_service;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use micro_tests::certs::{Authority, Identity, Wish};

/// Long enough for anything that happens at all, on a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What comes of a future that must not hang.
pub(crate) async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it hangs")
}

/// A running service whose `Front` says who the caller is: its names, or `nobody`.
pub(crate) async fn serve(tls: ServerTls) -> Running {
    serve_with(|builder| builder.tls(tls)).await
}

pub(crate) async fn serve_limited(tls: ServerTls, limits: ServerLimits) -> Running {
    serve_with(|builder| builder.tls(tls).server_limits(limits)).await
}

pub(crate) async fn serve_with(set: impl FnOnce(ServiceBuilder) -> ServiceBuilder) -> Running {
    let builder = Service::new("tls.server")
        .address("127.0.0.1:0")
        .registry(Memory::new());
    let service = set(builder).build().unwrap();
    front::register(service.server(), |ctx, _| async move {
        let Some(peer) = ctx.peer_identity() else {
            return Ok(front::answer("nobody"));
        };
        let names: Vec<_> = peer.dns_names().chain(peer.uris()).collect();
        let common_name = peer.common_name().unwrap_or("-");
        let text = format!(
            "{} {} {}",
            names.join(" "),
            common_name,
            peer.certificate().len()
        );
        Ok(front::answer(text))
    })
    .unwrap();
    service.start().await.unwrap()
}

/// Asks the server at an address, over TLS; its answer.
pub(crate) async fn ask(address: &str, tls: Option<ClientTls>) -> Result<String> {
    let mut builder = Service::new("tls.client")
        .registry(Memory::new())
        .request_timeout(PATIENCE);
    if let Some(tls) = tls {
        builder = builder.client_tls(tls);
    }
    let client = builder.build().unwrap().client().clone();
    let front = new_front_service("tls.server", &client);
    let reply = front.ask(front::question("who am I")).address(address);
    in_time(reply).await.map(|answer| answer.text)
}

/// The words of a call that must fail with UNAVAILABLE.
pub(crate) fn refusal(result: Result<String>) -> String {
    let status: Status = result.expect_err("expected to be refused");
    assert_eq!(status.code(), micro_runtime::Code::Unavailable, "{status}");
    status.message().to_owned()
}

/// TLS of a server with this identity.
pub(crate) fn server(identity: &Identity) -> ServerTls {
    ServerTls::from_pem(&identity.certificate, &identity.key)
}

/// A client that trusts this authority.
pub(crate) fn trusting(authority: &Authority) -> ClientTls {
    ClientTls::new().ca_pem(&authority.pem)
}

/// An authority, and a good server of it.
pub(crate) async fn good() -> (Authority, Running) {
    let authority = Authority::new("good");
    let running = serve(server(&authority.sign(Wish::good()))).await;
    (authority, running)
}

/// A TLS stream of a client that is not ours, with these versions and protocols.
pub(crate) async fn foreign(
    address: &str,
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap();
    roots.add(root).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    let tcp = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}
