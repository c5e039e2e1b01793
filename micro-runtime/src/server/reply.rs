//! [`Reply`]: what a server sends back, head to trailers.

use bytes::Bytes;

use crate::context::Context;
use crate::exchange::{Broken, FieldValue, Line, OutFields, OutHead, Outgoing, Slot};
use crate::metadata::Metadata;
use crate::protocol::grpc::{self, ContentType, Dialect};
use crate::status::Status;

/// The sending half of a call, and how its status is written.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) outgoing: Outgoing,
    content_type: ContentType,
    dialect: Dialect,
    head_sent: bool,
}

/// The head of a reply, and nothing to allocate, for each content type.
fn constant_head(content_type: ContentType) -> OutFields {
    const GRPC: &[(Slot, &str)] = &[(Slot::ContentType, ContentType::Grpc.header())];
    const PROTO: &[(Slot, &str)] = &[(Slot::ContentType, ContentType::Proto.header())];
    const JSON: &[(Slot, &str)] = &[(Slot::ContentType, ContentType::Json.header())];
    OutFields::constant(match content_type {
        ContentType::Grpc => GRPC,
        ContentType::Proto => PROTO,
        ContentType::Json => JSON,
    })
}

// ===== impl Reply =====

impl Reply {
    pub(super) fn new(outgoing: Outgoing, content_type: ContentType, dialect: Dialect) -> Reply {
        Reply {
            outgoing,
            content_type,
            dialect,
            head_sent: false,
        }
    }

    /// Sends the head with the headers that the handler set, unless it was sent.
    ///
    /// # Errors
    /// The exchange broke, or a header cannot be sent.
    pub(super) fn send_head(&mut self, context: &Context) -> Result<(), Status> {
        if self.head_sent {
            return Ok(());
        }
        let headers = checked(context.take_headers())?;
        let mut fields = constant_head(self.content_type);
        grpc::write_metadata(&headers, &mut fields);
        self.head_sent = true;
        self.outgoing
            .head(head(fields), false)
            .map_err(|broken| grpc::status_of(&broken))
    }

    /// Sends the one message of a unary reply, and its end.
    pub(super) fn finish_with(mut self, message: Bytes, context: &Context, id: &str) {
        if let Err(status) = self.send_head(context) {
            return self.finish_error(&status, context, id);
        }
        if self.outgoing.data(message, false).is_ok() {
            self.finish_ok(context, id);
        }
    }

    /// Ends a reply well.
    pub(super) fn finish_ok(mut self, context: &Context, id: &str) {
        if let Err(status) = self.send_head(context) {
            return self.finish_error(&status, context, id);
        }
        match checked(context.take_trailers()) {
            Ok(trailers) => {
                let mut fields = grpc::OK_TRAILERS;
                grpc::write_metadata(&trailers, &mut fields);
                ignore_broken(self.outgoing.trailers(fields));
            }
            Err(status) => self.finish_error(&status, context, id),
        }
    }

    /// Ends a reply with a status: as trailers alone if nothing was sent before.
    pub(super) fn finish_error(mut self, status: &Status, context: &Context, id: &str) {
        // What cannot be sent is left out: the status matters more, and says what went wrong.
        let trailers = checked(context.take_trailers()).unwrap_or_default();
        if self.head_sent {
            let mut fields = OutFields::default();
            grpc::write_status(status, self.dialect, id, &mut fields);
            grpc::write_metadata(&trailers, &mut fields);
            ignore_broken(self.outgoing.trailers(fields));
        } else {
            let mut fields = constant_head(self.content_type);
            grpc::write_status(status, self.dialect, id, &mut fields);
            let headers = checked(context.take_headers()).unwrap_or_default();
            grpc::write_metadata(&headers, &mut fields);
            grpc::write_metadata(&trailers, &mut fields);
            ignore_broken(self.outgoing.head(head(fields), true));
        }
    }
}

/// Answers a request that never became a call: trailers alone.
pub(super) fn refuse(
    outgoing: Outgoing,
    content_type: ContentType,
    dialect: Dialect,
    status: &Status,
    id: &str,
) {
    Reply::new(outgoing, content_type, dialect).finish_error(status, &Context::default(), id);
}

/// Answers a request that is no gRPC at all.
pub(super) fn refuse_http(mut outgoing: Outgoing, http_status: u16) {
    const ACCEPT: &[(Slot, &str)] = &[(Slot::ContentType, "text/plain")];
    const TEXT: &[u8] = b"expected a gRPC request: POST with content-type application/grpc\n";
    let head = OutHead {
        line: Line::Status(http_status),
        fields: OutFields::constant(ACCEPT),
    };
    if outgoing.head(head, false).is_ok() {
        ignore_broken(outgoing.data(Bytes::from_static(TEXT), true));
    }
}

fn head(fields: OutFields) -> OutHead {
    OutHead {
        line: Line::Status(200),
        fields,
    }
}

fn checked(metadata: Metadata) -> Result<Metadata, Status> {
    metadata.check().map_err(Status::internal)?;
    Ok(metadata)
}

/// A reply to a peer that is gone has nobody to be told.
fn ignore_broken(result: Result<(), Broken>) {
    if let Err(broken) = result {
        tracing::debug!(%broken, "a reply found no taker");
    }
}

/// A status written as `grpc-accept-encoding` says: for a request in a compression that is not spoken here.
pub(super) fn refuse_compression(
    outgoing: Outgoing,
    content_type: ContentType,
    dialect: Dialect,
    found: &str,
    id: &str,
) {
    let status = Status::unimplemented(format_args!(
        "grpc-encoding {found:?} is not spoken here: send messages uncompressed"
    ));
    let mut reply = Reply::new(outgoing, content_type, dialect);
    let mut fields = constant_head(content_type);
    fields.slot(Slot::GrpcAcceptEncoding, FieldValue::Static("identity"));
    grpc::write_status(&status, dialect, id, &mut fields);
    ignore_broken(reply.outgoing.head(head(fields), true));
}
