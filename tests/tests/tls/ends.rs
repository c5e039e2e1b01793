//! How a connection ends: with a goodbye of TLS (`close_notify`), or cut off.

use micro_runtime::Code;
use micro_runtime::registry::Memory;
use micro_runtime::service::Service;
use micro_tests::front;
use micro_tests::front::v1::new_front_service;
use micro_tests::proxy::Proxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::version::TLS13;

use crate::support::{PATIENCE, foreign, good, in_time, trusting};

/// A server that stops says goodbye in HTTP/2 and in TLS: the reader knows that nothing was cut off.
#[tokio::test]
async fn a_server_that_stops_says_goodbye() {
    let (authority, running) = good().await;
    let connected = foreign(&running.address(), &authority, &[&TLS13], &[b"h2"]).await;
    let mut stream = connected.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(preface).await.unwrap();
    let mut settings = [0; 9];
    in_time(stream.read_exact(&mut settings)).await.unwrap();
    let stopping = tokio::spawn(running.stop());
    let mut said = Vec::new();
    // Without a close_notify, this is an error.
    let mut buffer = [0; 1024];
    loop {
        match in_time(stream.read(&mut buffer)).await.unwrap() {
            0 => break,
            len => {
                said.extend_from_slice(&buffer[..len]);
                // What a client owes: acknowledgements of the settings and of the PING within the goodbye.
                if let Some(at) = find_ping(&said) {
                    let mut pong = vec![0, 0, 8, 6, 1, 0, 0, 0, 0];
                    pong.extend_from_slice(&said[at + 9..at + 17]);
                    said.clear();
                    stream.write_all(b"\0\0\0\x04\x01\0\0\0\0").await.unwrap();
                    stream.write_all(&pong).await.unwrap();
                    stream.flush().await.unwrap();
                }
            }
        }
    }
    in_time(stopping).await.unwrap().unwrap();
}

/// A whole PING that is no answer.
fn find_ping(said: &[u8]) -> Option<usize> {
    let whole = said.windows(17);
    whole.enumerate().find_map(|(at, frame)| {
        frame
            .starts_with(&[0, 0, 8, 6, 0, 0, 0, 0, 0])
            .then_some(at)
    })
}

/// A connection that is cut without a goodbye breaks its calls: what came is never taken for the whole.
#[tokio::test]
async fn a_connection_that_is_cut_breaks_its_calls() {
    let authority = micro_tests::certs::Authority::new("good");
    let identity = authority.sign(micro_tests::certs::Wish::good());
    let (asked, mut was_asked) = tokio::sync::mpsc::channel(1);
    let service = Service::new("tls.cut")
        .address("127.0.0.1:0")
        .registry(Memory::new())
        .tls(crate::support::server(&identity))
        .build()
        .unwrap();
    front::register(service.server(), move |_, _| {
        let asked = asked.clone();
        async move {
            asked.send(()).await.unwrap();
            std::future::pending().await
        }
    })
    .unwrap();
    let running = service.start().await.unwrap();
    let proxy = Proxy::to(running.address()).await;
    let client = Service::new("tls.client")
        .registry(Memory::new())
        .client_tls(trusting(&authority))
        .request_timeout(PATIENCE)
        .build()
        .unwrap();
    let front = new_front_service("tls.cut", client.client());
    let address = proxy.address();
    let call = front.ask(front::question("anything")).address(address);
    let call = tokio::spawn(call);
    in_time(was_asked.recv()).await.unwrap();
    proxy.cut();
    let status = in_time(call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}
