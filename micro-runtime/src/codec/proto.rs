//! Codecs of prost's messages.

use bytes::Bytes;
use prost::Message;

use super::{Codec, CodecFor, Encoding};
use crate::json::{self, JsonMessage};
use crate::status::Status;

/// Messages of prost with a JSON mapping, as the generator writes them.
#[derive(Clone, Copy, Debug)]
pub struct ProstJson;

/// Messages of prost alone: JSON is answered with an error that says so.
#[derive(Clone, Copy, Debug)]
pub struct Prost;

impl<M: Message + Default + JsonMessage> CodecFor<M> for ProstJson {
    const CODEC: Codec<M> = Codec::new(
        |message, encoding, headroom| match encoding {
            Encoding::Proto => Ok(write(message, headroom)),
            Encoding::Json(options) => {
                let mut buffer = vec![0; headroom];
                options.append_to(message, &mut buffer).map_err(|error| {
                    Status::internal(format_args!("cannot write {} as JSON: {error}", M::NAME))
                })?;
                Ok(buffer)
            }
        },
        |bytes, encoding| match encoding {
            Encoding::Proto => read(bytes),
            // go-micro sends an empty payload for an empty message.
            Encoding::Json(_) if bytes.is_empty() => Ok(M::default()),
            Encoding::Json(options) => {
                options
                    .from_slice(&bytes)
                    .map_err(|error: json::JsonError| {
                        Status::internal(format_args!("cannot read {} from JSON: {error}", M::NAME))
                    })
            }
        },
    );
}

impl<M: Message + Default> CodecFor<M> for Prost {
    const CODEC: Codec<M> = Codec::new(
        |message, encoding, headroom| match encoding {
            Encoding::Proto => Ok(write(message, headroom)),
            Encoding::Json(_) => Err(no_json::<M>()),
        },
        |bytes, encoding| match encoding {
            Encoding::Proto => read(bytes),
            Encoding::Json(_) => Err(no_json::<M>()),
        },
    );
}

fn write<M: Message>(message: &M, headroom: usize) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(headroom + message.encoded_len());
    buffer.resize(headroom, 0);
    // The buffer has the exact size, and `encode_raw` cannot fail: it only grows a vector.
    message.encode_raw(&mut buffer);
    buffer
}

fn read<M: Message + Default>(bytes: Bytes) -> Result<M, Status> {
    M::decode(bytes).map_err(|error| {
        Status::internal(format_args!(
            "cannot read {} from protobuf: {error}",
            short_name::<M>()
        ))
    })
}

fn no_json<M>() -> Status {
    Status::internal(format_args!(
        "{} was generated without JSON: call it with protobuf, or generate it with json=true",
        short_name::<M>()
    ))
}

fn short_name<M>() -> &'static str {
    let name = std::any::type_name::<M>();
    name.rsplit("::").next().unwrap_or(name)
}
