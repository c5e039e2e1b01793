//! What is compared: messages, and who reads and writes them.

use std::fmt::Debug;
use std::hint::black_box;

use micro_runtime::json::{self, JsonMessage};
use micro_runtime::prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{plain, shapes};
use crate::Result;
use crate::proto::ours;

/// Who reads and writes, in the order of every list of candidates; the others are compared with the first.
pub(super) const CANDIDATES: [&str; 3] = ["serde_json", OURS, "prost-reflect"];
pub(super) const OURS: &str = "ours";

/// One message.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) text: Vec<u8>,
    pub(super) candidates: [Candidate; 3],
}

/// One way to read and write it.
pub(super) struct Candidate {
    read: Box<dyn Fn()>,
    write: Box<dyn Fn()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

// ===== impl Direction =====

impl Direction {
    pub(super) const BOTH: [Direction; 2] = [Direction::Read, Direction::Write];

    pub(super) fn name(self) -> &'static str {
        match self {
            Direction::Read => "read",
            Direction::Write => "write",
        }
    }
}

// ===== impl Candidate =====

impl Candidate {
    pub(super) fn run(&self, direction: Direction) {
        match direction {
            Direction::Read => (self.read)(),
            Direction::Write => (self.write)(),
        }
    }
}

/// All messages.
pub(super) fn all() -> Result<Vec<Case>> {
    let request = ours::Request {
        name: "Alice".to_owned(),
    };
    Ok(vec![
        case::<_, plain::Request>("small", request, "Request")?,
        case::<_, plain::Order>("mixed", shapes::order(), "bench.json.v1.Order")?,
        case::<_, plain::Wide>("wide", shapes::wide(), "bench.json.v1.Wide")?,
        case::<_, plain::Strings>("strings", shapes::strings(), "bench.json.v1.Strings")?,
        case::<_, plain::Doubles>("doubles", shapes::doubles(), "bench.json.v1.Doubles")?,
        case::<_, plain::Ints>("ints", shapes::ints(), "bench.json.v1.Ints")?,
        case::<_, plain::Longs>("longs", shapes::longs(), "bench.json.v1.Longs")?,
        case::<_, plain::Blobs>("bytes", shapes::blobs(), "bench.json.v1.Blobs")?,
        case::<_, plain::Node>("deep", shapes::deep(), "bench.json.v1.Node")?,
    ])
}

/// A message, and the struct `P` that says the same to serde_json.
fn case<M, P>(name: &'static str, message: M, full_name: &str) -> Result<Case>
where
    M: JsonMessage + Message + Default + PartialEq + Debug + 'static,
    P: Serialize + DeserializeOwned + PartialEq + Debug + 'static,
{
    let text = json::to_vec(&message)?;
    let plain: P = serde_json::from_slice(&text)?;
    let descriptor = descriptor(full_name)?;
    let dynamic = DynamicMessage::decode(descriptor.clone(), message.encode_to_vec().as_slice())?;

    // Each reads what the others write, and it is the same.
    for text in [serde_json::to_vec(&plain)?, serde_json::to_vec(&dynamic)?] {
        if json::from_slice::<M>(&text)? != message
            || serde_json::from_slice::<P>(&text)? != plain
            || transcode::<M>(&descriptor, &text)? != message
            || text.len() != json::to_vec(&message)?.len()
        {
            let text = String::from_utf8_lossy(&text);
            return Err(
                format!("{name}: expected the same message of everyone, found {text}").into(),
            );
        }
    }

    let ours = {
        let text = text.clone();
        Candidate {
            read: Box::new(move || {
                black_box(json::from_slice::<M>(black_box(&text)).is_ok());
            }),
            write: {
                let message = M::decode(message.encode_to_vec().as_slice())?;
                Box::new(move || {
                    black_box(json::to_vec(black_box(&message)).is_ok());
                })
            },
        }
    };
    let serde = {
        let text = text.clone();
        Candidate {
            read: Box::new(move || {
                black_box(serde_json::from_slice::<P>(black_box(&text)).is_ok());
            }),
            write: Box::new(move || {
                black_box(serde_json::to_vec(black_box(&plain)).is_ok());
            }),
        }
    };
    let reflect = {
        let text = text.clone();
        let of = descriptor.clone();
        Candidate {
            read: Box::new(move || {
                black_box(transcode::<M>(&of, black_box(&text)).is_ok());
            }),
            write: Box::new(move || {
                let mut dynamic = DynamicMessage::new(descriptor.clone());
                let written = dynamic
                    .transcode_from(black_box(&message))
                    .is_ok_and(|()| serde_json::to_vec(&dynamic).is_ok());
                black_box(written);
            }),
        }
    };
    Ok(Case {
        name,
        text,
        candidates: [serde, ours, reflect],
    })
}

fn descriptor(name: &str) -> Result<MessageDescriptor> {
    let set = match name.rsplit_once('.') {
        Some(_) => ours::bench::json::v1::FILE_DESCRIPTOR_SET,
        None => ours::FILE_DESCRIPTOR_SET,
    };
    DescriptorPool::decode(set)?
        .get_message_by_name(name)
        .ok_or_else(|| format!("expected the descriptor of {name}, found none").into())
}

/// Reads a message by way of its descriptor.
fn transcode<M: Message + Default>(descriptor: &MessageDescriptor, text: &[u8]) -> Result<M> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let dynamic = DynamicMessage::deserialize(descriptor.clone(), &mut deserializer)?;
    deserializer.end()?;
    Ok(dynamic.transcode_to()?)
}
