//! gRPC over an exchange: content types, messages, metadata, deadlines, status.

mod binary;
mod content_type;
mod metadata;
mod reader;
mod status;
mod timeout;

pub(crate) use content_type::{ContentType, Unsupported};
pub(crate) use metadata::{read as read_metadata, read_request, write as write_metadata};
pub(crate) use reader::{MessageReader, ReadError};
pub(crate) use status::{
    Dialect, OK_TRAILERS, of_http, read as read_status, write as write_status,
};
pub(crate) use timeout::{format as format_timeout, parse as parse_timeout, parse_go};

use crate::exchange::{Broken, Head, Processed, Slot, Why, reset};
use crate::status::{Code, Status};

/// How this runtime names itself to servers: gRPC's form of `user-agent`.
pub(crate) const USER_AGENT: &str = concat!("grpc-rust-micro/", env!("CARGO_PKG_VERSION"));

/// What every client of this runtime's begins its `user-agent` with.
const OWN_AGENT: &[u8] = b"grpc-rust-micro/";

/// Largest message that is taken by default: 4 MiB, as everywhere in gRPC.
pub(crate) const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// Whom a reply to this request goes to. `x-content-type` is sent by go-micro's clients, and by nobody else.
pub(crate) fn dialect(request: &Head) -> Dialect {
    if request.get(Slot::XContentType).is_some() {
        Dialect::Go
    } else if request
        .get(Slot::UserAgent)
        .is_some_and(|agent| agent.starts_with(OWN_AGENT))
    {
        Dialect::Micro
    } else {
        Dialect::Plain
    }
}

/// The status of a call whose exchange broke, by gRPC's table of HTTP/2 error codes.
pub(crate) fn status_of(broken: &Broken) -> Status {
    let code = match broken.why {
        _ if broken.processed == Processed::No => Code::Unavailable,
        Why::Reset(reset::CANCEL) => Code::Cancelled,
        Why::Reset(reset::ENHANCE_YOUR_CALM) | Why::Limit(_) => Code::ResourceExhausted,
        Why::Reset(reset::INADEQUATE_SECURITY) => Code::PermissionDenied,
        Why::Reset(_) | Why::Protocol => Code::Internal,
        Why::GoAway(_) | Why::Closed | Why::Timeout => Code::Unavailable,
    };
    Status::new(code, broken)
}
