//! The HTTP broker, between processes of ours and go-micro.
//!
//! | file | about |
//! |---|---|
//! | `close` | the end of subscriptions and brokers |
//! | `consul` | brokers that find each other over a Consul agent |
//! | `delivery` | who gets an event, and what `publish` says |
//! | `go` | go-micro v2.9.1 and v5.30.0 |
//! | `input` | bytes that are no event |
//! | `overload` | slow handlers, many events, many connections |
//! | `registry` | registries that are away, and those over the network |
//! | `secure` | TLS |
//! | `stopping` | members of a queue that fail or stop |
//! | `through` | publishers and subscriptions over it |
//! | `wire` | what go-micro would see |

mod close;
mod consul;
mod delivery;
mod go;
mod input;
mod overload;
mod registry;
mod secure;
mod stopping;
mod through;
mod wire;

use std::time::Duration;

use micro_runtime::broker::{Broker, Delivery, Event, Http, Message};
use micro_runtime::registry::{Memory, Node, Registry};
use micro_runtime::{Deadline, Error};
use micro_tests::events::Acking;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A broker of its own, as another process has.
fn broker(registry: &Memory) -> Http {
    Http::new().registry(registry.clone())
}

fn message(topic: &str) -> Message {
    Message::new(topic, "hi").header("content-type", "application/json")
}

/// Publishes within this time.
async fn publish_within(broker: &Http, message: Message, time: Duration) -> Result<(), Error> {
    let deadline = Deadline::after(time);
    broker
        .publish(message, Delivery::AtMostOnce, deadline)
        .await
}

/// The next event of one of them.
async fn one_of([first, second]: &mut [Acking; 2]) -> Event {
    let event = tokio::select! {
        event = first.next() => event,
        event = second.next() => event,
    };
    event.unwrap()
}

/// The entries in the registry, with their versions.
async fn entries(registry: &Memory) -> Vec<(String, Node)> {
    let services = registry.get("micro.http.broker").await.unwrap();
    let nodes = services.into_iter().flat_map(|service| {
        let version = service.version;
        service
            .nodes
            .into_iter()
            .map(move |node| (version.clone(), node))
    });
    nodes.collect()
}

/// The one entry in the registry.
async fn entry(registry: &Memory) -> Node {
    let mut entries = entries(registry).await;
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries.remove(0).1
}

/// Says this to an address, and gives all that is answered until the connection ends.
async fn say(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // It may be closed with bytes unread.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// A request as Go sends it, for the last time on its connection.
fn post(id: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /?id={id} HTTP/1.1\r\nHost: x\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: {}\r\n\
         Content-Type: application/json\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
