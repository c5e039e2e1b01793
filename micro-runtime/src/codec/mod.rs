//! Messages ⇄ bytes: the [`Codec`] of a message type, and the [`Encoding`]s there are.
//!
//! A codec is a table of functions, not a trait on messages: no call, stream or handler type carries a bound
//! on its messages, and a message without our JSON mapping works too. Which table a message gets is said
//! once, in its method's descriptor, by a marker: [`ProstJson`] or [`Prost`].

pub(crate) mod frame;
mod proto;

use std::fmt;

use bytes::Bytes;

use crate::json;
use crate::status::Status;

pub use proto::{Prost, ProstJson};

/// How messages are written.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Encoding {
    /// Protobuf's binary form.
    Proto,
    /// Protobuf's JSON mapping, with these options.
    Json(json::Options),
}

/// The functions that write and read one type of message.
pub struct Codec<M> {
    encode: fn(&M, &Encoding, usize) -> Result<Vec<u8>, Status>,
    decode: fn(Bytes, &Encoding) -> Result<M, Status>,
}

// ===== impl Codec =====

impl<M> Codec<M> {
    /// A codec of these functions. `encode` leaves as many zero bytes before the message as its last
    /// argument says, so that a frame's prefix needs no second buffer.
    #[must_use]
    pub const fn new(
        encode: fn(&M, &Encoding, usize) -> Result<Vec<u8>, Status>,
        decode: fn(Bytes, &Encoding) -> Result<M, Status>,
    ) -> Codec<M> {
        Codec { encode, decode }
    }

    /// Writes a message behind `headroom` zero bytes, into one buffer of the exact size where the encoding
    /// can tell it.
    ///
    /// # Errors
    /// INTERNAL if this type has no such encoding, or the message cannot be written in it.
    pub fn encode(
        &self,
        message: &M,
        encoding: &Encoding,
        headroom: usize,
    ) -> Result<Vec<u8>, Status> {
        (self.encode)(message, encoding, headroom)
    }

    /// Reads a message. `bytes` fields may share the memory of `bytes`.
    ///
    /// # Errors
    /// INTERNAL, as gRPC's table of library errors has it, if the bytes are not a message of this type.
    pub fn decode(&self, bytes: Bytes, encoding: &Encoding) -> Result<M, Status> {
        (self.decode)(bytes, encoding)
    }
}

impl<M> Clone for Codec<M> {
    fn clone(&self) -> Codec<M> {
        *self
    }
}

impl<M> Copy for Codec<M> {}

impl<M> fmt::Debug for Codec<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Codec<{}>", std::any::type_name::<M>())
    }
}

/// Gives the codec of a message type; implemented by the markers [`ProstJson`] and [`Prost`].
pub trait CodecFor<M> {
    /// The codec.
    const CODEC: Codec<M>;
}
