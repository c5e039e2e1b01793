//! New files, broken files and half-replaced ones, under a stream that runs on.

use micro_runtime::Client;
use micro_runtime::registry::Memory;
use micro_runtime::service::{Running, Service};
use micro_runtime::transport::{ClientTls, ServerTls};
use micro_tests::peer::Peer;
use micro_tests::peer::v1::{PeerService, Req, new_peer_service, register_peer_handler};
use tokio_rustls::rustls::version::TLS13;

use crate::support::{PATIENCE, ask, foreign, in_time, refusal, serve, trusting};
use micro_tests::certs::{Authority, Folder, Identity, Wish};

async fn serve_peer(tls: ServerTls) -> Running {
    let service = Service::new("tls.peer")
        .address("127.0.0.1:0")
        .registry(Memory::new())
        .tls(tls)
        .build()
        .unwrap();
    register_peer_handler(service.server(), Peer::default()).unwrap();
    service.start().await.unwrap()
}

fn client(tls: ClientTls) -> Client {
    let service = Service::new("tls.client")
        .registry(Memory::new())
        .client_tls(tls)
        .request_timeout(PATIENCE)
        .build()
        .unwrap();
    service.client().clone()
}

fn named(name: &str) -> Req {
    Req {
        name: name.to_owned(),
        ..Req::default()
    }
}

/// The certificate that new connections see.
async fn shown(address: &str, authority: &Authority) -> Vec<u8> {
    let stream = foreign(address, authority, &[&TLS13], &[b"h2"])
        .await
        .unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn sign(authority: &Authority) -> Identity {
    authority.sign(Wish::good())
}

#[tokio::test]
async fn new_files_are_used_and_streams_go_on() {
    let (authority, folder) = (Authority::new("good"), Folder::new());
    let (first, second, third) = (sign(&authority), sign(&authority), sign(&authority));
    let (certificate, key) = folder.identity("server", &first);
    let tls = ServerTls::from_files(&certificate, &key);
    let running = serve_peer(tls.clone()).await;
    let address = running.address();
    let peer: PeerService = new_peer_service("tls.peer", &client(trusting(&authority)));
    let (mut names, mut replies) = peer.chat().address(&address).await.unwrap();
    let mut chat = async |name: &str| {
        names.send(named(name)).await.unwrap();
        let reply = in_time(replies.recv()).await.unwrap().unwrap();
        assert_eq!(reply.name, name);
    };
    chat("before").await;
    assert_eq!(shown(&address, &authority).await, first.der);

    // One file after the other: between them they do not belong together, and nothing changes.
    folder.write("server.pem", &second.certificate);
    let error = tls.reload().unwrap_err().to_string();
    let why = "expected a key that belongs to the certificate";
    assert!(
        error.contains(why) && error.contains("server.key"),
        "{error}"
    );
    assert_eq!(shown(&address, &authority).await, first.der);
    chat("half replaced").await;
    folder.write("server.key", &second.key);
    tls.reload().unwrap();
    assert_eq!(shown(&address, &authority).await, second.der);
    chat("replaced").await;

    // Broken and missing.
    for text in [
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "\0\u{1}\u{2}",
    ] {
        folder.write("server.pem", text);
        tls.reload().unwrap_err();
        assert_eq!(shown(&address, &authority).await, second.der);
    }
    std::fs::remove_file(&certificate).unwrap();
    let error = tls.reload().unwrap_err().to_string();
    assert!(
        error.starts_with("cannot read the certificate from "),
        "{error}"
    );
    assert_eq!(shown(&address, &authority).await, second.der);
    chat("gone").await;
    let _ = folder.identity("server", &third);
    tls.reload().unwrap();
    assert_eq!(shown(&address, &authority).await, third.der);
    chat("back").await;
    peer.unary(named("new call"))
        .address(&address)
        .await
        .unwrap();
}

/// Nobody has to say so: the files are looked at.
#[tokio::test]
async fn new_files_are_found() {
    let (authority, folder) = (Authority::new("good"), Folder::new());
    let (first, second) = (sign(&authority), sign(&authority));
    let (certificate, key) = folder.identity("server", &first);
    let running = serve_peer(ServerTls::from_files(&certificate, &key)).await;
    let address = running.address();
    assert_eq!(shown(&address, &authority).await, first.der);
    // As a secret of Kubernetes is replaced: another file under the same name, with the time of the old one.
    let time = std::fs::metadata(&certificate).unwrap().modified().unwrap();
    for (path, text) in [(&certificate, &second.certificate), (&key, &second.key)] {
        let new = folder.write("new", text);
        let file = std::fs::File::options().write(true).open(&new).unwrap();
        file.set_modified(time).unwrap();
        std::fs::rename(new, path).unwrap();
    }
    in_time(async {
        while shown(&address, &authority).await != second.der {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    })
    .await;
}

/// Files that change all the time, two after each other, while several ask for them to be read and others connect:
/// whoever connects is shown one of the two, whole, and none is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reload_is_seen_half_done() {
    let (authority, folder) = (Authority::new("good"), Folder::new());
    let identities = [sign(&authority), sign(&authority)];
    let (certificate, key) = folder.identity("server", &identities[0]);
    let tls = ServerTls::from_files(&certificate, &key);
    let running = serve_peer(tls.clone()).await;
    let address = running.address();

    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut busy = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (tls, stopped) = (tls.clone(), stopped.clone());
        busy.spawn_blocking(move || {
            let (mut good, mut bad) = (0, 0);
            while !*stopped.borrow() {
                match tls.reload() {
                    Ok(()) => good += 1,
                    Err(_) => bad += 1,
                }
            }
            (good, bad)
        });
    }
    let texts = identities.clone();
    let paths = [certificate, key];
    busy.spawn_blocking(move || {
        let mut turn = 0;
        while !*stopped.borrow() {
            turn += 1;
            let identity = &texts[turn % 2];
            // Not at once: truncated first, then written.
            std::fs::write(&paths[0], &identity.certificate).unwrap();
            std::fs::write(&paths[1], &identity.key).unwrap();
        }
        (0, 0)
    });
    for _ in 0..150 {
        let der = in_time(shown(&address, &authority)).await;
        assert!(identities.iter().any(|identity| identity.der == der));
    }
    stop.send(true).unwrap();
    let ended = in_time(busy.join_all()).await;
    let (good, bad) = ended
        .iter()
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert!(
        good > 0 && bad > 0,
        "{good} reloads, {bad} of half a change"
    );
}

/// A client that is no longer trusted gets no new connection; not by resuming its session either.
#[tokio::test]
async fn another_authority_of_clients_holds_at_once() {
    let (authority, old, new) = (
        Authority::new("good"),
        Authority::new("old"),
        Authority::new("new"),
    );
    let folder = Folder::new();
    let clients = folder.write("clients.pem", &old.pem);
    let identity = sign(&authority);
    let tls = ServerTls::from_pem(&identity.certificate, &identity.key).client_ca_file(clients);
    let running = serve(tls.clone()).await;
    let address = running.address();
    let with = |identity: &Identity| {
        trusting(&authority).identity_pem(&identity.certificate, &identity.key)
    };
    let (before, after) = (with(&sign(&old)), with(&sign(&new)));
    // Twice, so that there is a session to resume.
    ask(&address, Some(before.clone())).await.unwrap();
    ask(&address, Some(before.clone())).await.unwrap();
    refusal(ask(&address, Some(after.clone())).await);
    folder.write("clients.pem", &new.pem);
    tls.reload().unwrap();
    let words = refusal(ask(&address, Some(before)).await);
    assert!(
        words.contains("it does not trust the authority of our certificate"),
        "{words}"
    );
    ask(&address, Some(after)).await.unwrap();
}

#[tokio::test]
async fn a_server_without_its_files_does_not_start() {
    let folder = Folder::new();
    let tls = ServerTls::from_files(folder.path("a.pem"), folder.path("a.key"));
    let error = Service::new("tls.server")
        .address("127.0.0.1:0")
        .registry(Memory::new())
        .tls(tls)
        .build()
        .unwrap_err();
    assert_eq!(error.kind(), micro_runtime::ErrorKind::Config);
    let words = format!("{error:?}");
    assert!(
        words.contains("cannot read the certificate from "),
        "{words}"
    );
    assert!(words.contains("a.pem: No such file"), "{words}");
}
