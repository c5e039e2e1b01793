//! TLS both ways, and trees that are closed to others.

use std::time::{Duration, Instant};

use micro_runtime::registry::{Registry, ZooKeeper};
use micro_runtime::transport::ClientTls;
use micro_tests::authority::Authority;
use micro_tests::expect::{follow, ids, service};
use micro_tests::servers::free_ports;

use crate::server::{Keeper, SESSION};

/// How long a call may take that is to fail.
const SHORT: Duration = Duration::from_millis(1500);

/// A server that listens in plain text and, at the other port, with TLS, where it wants certificates of its clients.
async fn keeper(authority: &Authority) -> (Keeper, u16) {
    authority.sign("server", &["127.0.0.1", "localhost"]);
    authority.sign("client", &[]);
    let [port] = free_ports();
    let keeper = Keeper::with(&[
        &format!("secureClientPort={port}"),
        "secureClientPortAddress=127.0.0.1",
        "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
        "authProvider.x509=org.apache.zookeeper.server.auth.X509AuthenticationProvider",
        &format!(
            "ssl.keyStore.location={}",
            authority.file("server.both.pem")
        ),
        &format!("ssl.trustStore.location={}", authority.file("ca.pem")),
        "ssl.hostnameVerification=false",
        "ssl.clientHostnameVerification=false",
    ])
    .await;
    (keeper, port)
}

/// The error of a call, and that it came when it should.
async fn refused(registry: ZooKeeper) -> String {
    let registry = registry.timeout(SHORT);
    let begun = Instant::now();
    let error = registry.get("a").await.unwrap_err().to_string();
    println!("{error}");
    assert!(begun.elapsed() < 2 * SHORT, "{:?}", begun.elapsed());
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_both_ways() {
    let authority = Authority::new();
    let (mut keeper, port) = keeper(&authority).await;
    let address = format!("127.0.0.1:{port}");
    let [ca, other, certificate, key] =
        ["ca.pem", "other.pem", "client.pem", "client.key"].map(|name| authority.file(name));
    let identity = format!("cert={certificate}&key={key}");

    // By the address alone, as a flag or a variable says it.
    let ours =
        ZooKeeper::new([format!("zks://{address}?ca={ca}&{identity}")]).session_timeout(SESSION);
    ours.register(&service("a", "a-1", 1), Duration::ZERO)
        .await
        .unwrap();
    // In code.
    let tls = ClientTls::new()
        .ca_file(&ca)
        .identity_files(&certificate, &key);
    let theirs = ZooKeeper::new([format!("localhost:{port}")]).tls(tls);
    assert_eq!(ids(&theirs, "a").await.unwrap(), ["a-1"]);
    // Those in plain text have the same view.
    assert_eq!(ids(&keeper.registry(), "a").await.unwrap(), ["a-1"]);
    let mut watcher = theirs.watch(Some("a")).await.unwrap();
    let mut known = vec!["a-1".to_owned()];
    ours.register(&service("a", "a-2", 2), Duration::ZERO)
        .await
        .unwrap();
    follow(&mut watcher, &mut known, &["a-1", "a-2"], SHORT).await;
    // The session goes on over the next connection.
    keeper.server.kill9().await;
    keeper.server.restart().await;
    ours.deregister(&service("a", "a-1", 1)).await.unwrap();
    follow(&mut watcher, &mut known, &["a-2"], 2 * SESSION).await;

    let secure = format!("zks://{address}");
    for (address, why) in [
        // No certificate of ours; none of theirs that we know; another name; none at all.
        (format!("{secure}?ca={ca}"), "was given none"),
        (
            format!("{secure}?ca={other}&{identity}"),
            "not trusted here",
        ),
        (
            format!("{secure}?ca={ca}&{identity}&server_name=zk.example"),
            "zk.example",
        ),
        (secure.clone(), "not trusted here"),
        (
            format!("{secure}?ca={key}"),
            "expected PEM with BEGIN CERTIFICATE",
        ),
        (format!("{secure}?ca=/none/ca.pem"), "/none/ca.pem"),
        // Plain text where TLS is spoken, and the reverse.
        (format!("zk://{address}"), "write zks://"),
        (
            format!("zks://{}?ca={ca}&{identity}", keeper.address()),
            "TLS",
        ),
    ] {
        let error = refused(ZooKeeper::new([&address])).await;
        assert!(
            error.contains(why),
            "{address}: expected {why:?} in {error}"
        );
    }
}

/// Of two servers one has another's certificate: the other is used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_prove_itself_is_passed_over() {
    let (authority, imposter) = (Authority::new(), Authority::new());
    let (keeper, port) = keeper(&authority).await;
    let (_other, wrong) = self::keeper(&imposter).await;
    let file = |name: &str| authority.file(name);
    let query = format!(
        "ca={}&cert={}&key={}",
        file("ca.pem"),
        file("client.pem"),
        file("client.key")
    );
    for _ in 0..6 {
        let registry = ZooKeeper::new([
            format!("zks://127.0.0.1:{wrong}?{query}"),
            format!("127.0.0.1:{port}"),
        ]);
        registry
            .register(&service("a", "a-1", 1), Duration::ZERO)
            .await
            .unwrap();
        assert_eq!(ids(&keeper.registry(), "a").await.unwrap(), ["a-1"]);
    }
}

/// A tree that somebody has closed: who may not read it is told so, and not that there is nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_read_is_an_error() {
    let keeper = Keeper::start().await;
    let address = keeper.address();
    let ours = ZooKeeper::new([&address]).credentials("fleet", "s3cret");
    ours.register(&service("a", "a-1", 1), Duration::ZERO)
        .await
        .unwrap();
    let mut raw = crate::raw::Raw::connect(&address).await;
    raw.login("fleet:s3cret").await;
    for path in ["/micro-registry/a/a-1", "/micro-registry/a"] {
        raw.close(path).await;
    }
    assert_eq!(ids(&ours, "a").await.unwrap(), ["a-1"]);
    for registry in [
        keeper.registry(),
        ZooKeeper::new([&address]).credentials("fleet", "other"),
    ] {
        for error in [
            registry.get("a").await.unwrap_err(),
            registry.list().await.unwrap_err(),
            registry.watch(Some("a")).await.map(drop).unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(
                error.contains("NoAuth") && error.contains("user and password"),
                "{error}"
            );
        }
    }
    // The watch of who may read sees what it should.
    let mut watcher = ours.watch(Some("a")).await.unwrap();
    let mut known = vec!["a-1".to_owned()];
    ours.register(&service("a", "a-2", 2), Duration::ZERO)
        .await
        .unwrap();
    follow(&mut watcher, &mut known, &["a-1", "a-2"], 2 * SESSION).await;
}
