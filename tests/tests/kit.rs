//! The kit itself: servers that are killed, paused and restarted, and a proxy that breaks connections.

use std::time::Duration;

use micro_tests::proxy::Proxy;
use micro_tests::servers::{Program, Ready, Server, free_ports, http_get};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

const LONG: Duration = Duration::from_secs(20);

/// Answers every connection with what comes in.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.into_split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    address
}

async fn says(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    stream.write_all(text.as_bytes()).await?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).await?;
    assert_eq!(String::from_utf8_lossy(&answer), text);
    Ok(())
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(LONG, future).await.expect("it hangs")
}

#[tokio::test]
async fn a_proxy_cuts_refuses_holds_swallows_and_delays() {
    let proxy = Proxy::to(echo().await).await;
    let connect = || TcpStream::connect(proxy.address());
    let mut first = connect().await.unwrap();
    soon(says(&mut first, "a")).await.unwrap();
    assert_eq!((proxy.open(), proxy.accepted()), (1, 1));

    proxy.cut();
    assert!(soon(says(&mut first, "b")).await.is_err());
    let mut second = connect().await.unwrap();
    soon(says(&mut second, "c")).await.unwrap();

    proxy.refuse();
    assert!(soon(says(&mut second, "d")).await.is_err());
    soon(async { while connect().await.is_ok() {} }).await;
    proxy.heal();
    let mut third = soon(async {
        loop {
            if let Ok(stream) = connect().await {
                return stream;
            }
        }
    })
    .await;
    soon(says(&mut third, "e")).await.unwrap();

    proxy.hold();
    let short = timeout(Duration::from_millis(100), says(&mut third, "f"));
    assert!(short.await.is_err());
    proxy.heal();
    let mut answer = [0];
    soon(third.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"f");

    proxy.swallow();
    let short = timeout(Duration::from_millis(100), says(&mut third, "g"));
    assert!(short.await.is_err());
    proxy.heal();
    assert!(soon(says(&mut third, "h")).await.is_err());

    let mut fourth = connect().await.unwrap();
    soon(says(&mut fourth, "i")).await.unwrap();
    proxy.delay(Duration::from_millis(60));
    let begun = Instant::now();
    soon(says(&mut fourth, "j")).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(120));
}

/// A small server with an HTTP port.
async fn start() -> (Server, u16) {
    let [port, monitor] = free_ports();
    let server = Program::find("nats-2.15")
        .args(["-a", "127.0.0.1", "-p", &port.to_string()])
        .args(["-m", &monitor.to_string()])
        .start(Ready::http(monitor, "/healthz", "ok"))
        .await;
    (server, monitor)
}

#[tokio::test]
async fn a_server_is_killed_paused_stopped_and_restarted() {
    let (mut server, port) = start().await;
    let folder = server.folder().to_owned();
    let before = server.pid();
    let healthy = http_get(port, "/healthz").await.unwrap();
    assert_eq!(healthy.0, 200);

    server.pause();
    let get = http_get(port, "/healthz");
    assert!(timeout(Duration::from_millis(100), get).await.is_err());
    server.resume();
    assert_eq!(soon(http_get(port, "/healthz")).await.unwrap(), healthy);

    server.kill9().await;
    assert!(http_get(port, "/healthz").await.is_err());
    server.restart().await;
    assert_eq!(soon(http_get(port, "/healthz")).await.unwrap(), healthy);
    assert_ne!(server.pid(), before);

    server.stop().await;
    assert!(http_get(port, "/healthz").await.is_err());
    assert_eq!(server.log().matches("Server is ready").count(), 2);
    drop(server);
    assert!(!folder.exists());
}
