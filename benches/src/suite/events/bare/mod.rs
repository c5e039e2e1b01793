//! The same by the libraries alone, as their documentation shows them.

mod http;
#[cfg(feature = "events")]
mod kafka;
#[cfg(feature = "events")]
mod nats;
#[cfg(feature = "events")]
mod rabbitmq;
#[cfg(feature = "events")]
mod redis;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use micro_runtime::bytes::Bytes;
use micro_runtime::prost::Message as _;
use serde::{Deserialize, Serialize};

use super::{Arrivals, Carrier, Round};
use crate::Result;
use crate::proto::ours::Request;

/// How an event becomes bytes and comes out of them again, as one writes it with prost, base64 and serde_json.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    topic: String,
    event: Request,
    /// Events that are delivered at least once have an id, by which who gets one twice can tell.
    kept: bool,
    published: Arc<AtomicU64>,
    /// The body and the whole message, if nothing is to be written or read.
    ready: Option<(Bytes, Bytes)>,
}

/// go-micro's JSON form of a message, to be written.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(rename = "Header")]
    header: BTreeMap<&'a str, &'a str>,
    #[serde(rename = "Body")]
    body: String,
}

/// The same, read: a value may have escapes, and is copied then.
#[derive(Deserialize)]
struct Read<'a> {
    #[serde(rename = "Header")]
    header: BTreeMap<String, String>,
    #[serde(rename = "Body", borrow)]
    body: Cow<'a, str>,
}

// ===== impl Wire =====

impl Wire {
    pub(super) fn new(topic: &str, event: &Request, kept: bool, ready: bool) -> Wire {
        let mut wire = Wire {
            topic: topic.to_owned(),
            event: event.clone(),
            kept,
            published: Arc::default(),
            ready: None,
        };
        wire.ready = ready.then(|| (wire.body(), wire.message()));
        wire
    }

    /// The event's bytes, without headers.
    pub(super) fn body(&self) -> Bytes {
        match &self.ready {
            Some((body, _)) => body.clone(),
            None => self.event.encode_to_vec().into(),
        }
    }

    /// A new id, as long as ours are.
    pub(super) fn id(&self) -> String {
        let number = self.published.fetch_add(1, Ordering::Relaxed);
        format!("6b2f4a3e-90c1-4d57-b8e2-{number:012x}")
    }

    /// The event as a message of go-micro's, with an id if it is to be delivered at least once.
    pub(super) fn message(&self) -> Bytes {
        self.message_of(&if self.kept { self.id() } else { String::new() })
    }

    /// The event as a message of go-micro's, with this id, if it is one.
    pub(super) fn message_of(&self, id: &str) -> Bytes {
        if let Some((_, message)) = &self.ready {
            return message.clone();
        }
        let mut header = BTreeMap::from([
            ("Content-Type", "application/protobuf"),
            ("Micro-Topic", self.topic.as_str()),
        ]);
        if !id.is_empty() {
            header.insert("Micro-Id", id);
        }
        let written = Written {
            header,
            body: STANDARD.encode(self.event.encode_to_vec()),
        };
        serde_json::to_vec(&written).unwrap_or_default().into()
    }

    /// Reads what [`body`](Wire::body) has written.
    pub(super) fn read_body(&self, body: impl micro_runtime::bytes::Buf) -> Result<()> {
        if self.ready.is_none() {
            black_box(Request::decode(body)?);
        }
        Ok(())
    }

    /// Reads what [`message`](Wire::message) has written.
    pub(super) fn read_message(&self, message: &[u8]) -> Result<()> {
        if self.ready.is_some() {
            return Ok(());
        }
        let read: Read<'_> = serde_json::from_slice(message)?;
        black_box(read.header);
        let body: Bytes = STANDARD.decode(&*read.body)?.into();
        self.read_body(body)
    }
}

/// The time that all events took, and how many are missing.
#[cfg_attr(
    not(feature = "events"),
    expect(unused_variables, reason = "no broker has a server")
)]
pub(super) async fn run(carrier: Carrier, address: &str, round: &Round) -> Result<(Duration, u64)> {
    match carrier {
        Carrier::Memory => channel(round).await,
        Carrier::Http => http::run(round).await,
        #[cfg(feature = "events")]
        Carrier::Nats => nats::core(address, round).await,
        #[cfg(feature = "events")]
        Carrier::Jetstream | Carrier::JetstreamSingly => nats::jetstream(address, round).await,
        #[cfg(feature = "events")]
        Carrier::Rabbitmq => rabbitmq::run(address, round).await,
        #[cfg(feature = "events")]
        Carrier::Kafka => kafka::run(address, round).await,
        #[cfg(feature = "events")]
        Carrier::Redis => redis::publish(address, round).await,
        #[cfg(feature = "events")]
        Carrier::RedisStream => redis::stream(address, round).await,
        #[cfg(not(feature = "events"))]
        _ => Err("expected a build with --features events".into()),
    }
}

/// A bounded channel of tokio, which carries the encoded event.
async fn channel(round: &Round) -> Result<(Duration, u64)> {
    let arrivals = Arrivals::new(round.events);
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<Bytes>(round.in_flight);
    let (seen, wire) = (arrivals.clone(), round.wire.clone());
    let consumer = tokio::spawn(async move {
        while let Some(body) = receiver.recv().await {
            if wire.read_body(body).is_ok() {
                seen.one();
            }
        }
    });
    let start = Instant::now();
    let mut publishers = tokio::task::JoinSet::new();
    for share in round.shares() {
        let (sender, wire) = (sender.clone(), round.wire.clone());
        publishers.spawn(async move {
            for _ in 0..share {
                if sender.send(wire.body()).await.is_err() {
                    break;
                }
            }
        });
    }
    while let Some(done) = publishers.join_next().await {
        done?;
    }
    let missing = arrivals.missing().await;
    let took = start.elapsed();
    drop(sender);
    consumer.await?;
    Ok((took, missing))
}
