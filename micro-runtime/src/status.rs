//! The outcome of a call: [`Status`], its [`Code`], and [`Result`].

use std::fmt;

use prost_types::Any;

use crate::metadata::Metadata;

/// What a call, or a handler, returns.
pub type Result<T, E = Status> = std::result::Result<T, E>;

/// The canonical status codes of gRPC, with their numbers on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Code {
    /// The call succeeded.
    Ok = 0,
    /// The caller gave the call up.
    Cancelled = 1,
    /// An error that fits no other code.
    Unknown = 2,
    /// The request is wrong, whatever the state of the system.
    InvalidArgument = 3,
    /// The time for the call ran out.
    DeadlineExceeded = 4,
    /// Something that was asked for does not exist.
    NotFound = 5,
    /// Something that was to be made exists already.
    AlreadyExists = 6,
    /// The caller is known and may not do this.
    PermissionDenied = 7,
    /// A quota, a limit or memory ran out.
    ResourceExhausted = 8,
    /// The system is not in the state that the operation needs.
    FailedPrecondition = 9,
    /// The operation lost against another, and may be tried again as a whole.
    Aborted = 10,
    /// The operation went past the valid range.
    OutOfRange = 11,
    /// The method does not exist here.
    Unimplemented = 12,
    /// An invariant is broken: a bug, here or in a library.
    Internal = 13,
    /// The service cannot be reached just now; trying again may help.
    Unavailable = 14,
    /// Data is lost or damaged beyond repair.
    DataLoss = 15,
    /// The caller is not known.
    Unauthenticated = 16,
}

// ===== impl Code =====

impl Code {
    /// Every code, in the order of its number.
    pub const ALL: [Code; 17] = [
        Code::Ok,
        Code::Cancelled,
        Code::Unknown,
        Code::InvalidArgument,
        Code::DeadlineExceeded,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::FailedPrecondition,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
        Code::Unauthenticated,
    ];

    /// The code with this number; [`Code::Unknown`] for a number that gRPC does not define.
    #[must_use]
    pub fn from_number(number: i64) -> Code {
        usize::try_from(number)
            .ok()
            .and_then(|index| Code::ALL.get(index).copied())
            .unwrap_or(Code::Unknown)
    }

    /// Its number on the wire, 0 to 16.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Its name as gRPC writes it, such as `DEADLINE_EXCEEDED`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Code::Ok => "OK",
            Code::Cancelled => "CANCELLED",
            Code::Unknown => "UNKNOWN",
            Code::InvalidArgument => "INVALID_ARGUMENT",
            Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Code::NotFound => "NOT_FOUND",
            Code::AlreadyExists => "ALREADY_EXISTS",
            Code::PermissionDenied => "PERMISSION_DENIED",
            Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Code::FailedPrecondition => "FAILED_PRECONDITION",
            Code::Aborted => "ABORTED",
            Code::OutOfRange => "OUT_OF_RANGE",
            Code::Unimplemented => "UNIMPLEMENTED",
            Code::Internal => "INTERNAL",
            Code::Unavailable => "UNAVAILABLE",
            Code::DataLoss => "DATA_LOSS",
            Code::Unauthenticated => "UNAUTHENTICATED",
        }
    }

    /// The HTTP-like number that go-micro gives an error of this code.
    ///
    /// The table is go-micro's own (`server/grpc/error.go`, v2.9.1) read backwards; codes that it does not
    /// have get the number that the gRPC gateway gives them, so that each number maps back to a sensible code.
    #[must_use]
    pub const fn micro_code(self) -> i32 {
        match self {
            Code::Ok => 200,
            Code::InvalidArgument | Code::OutOfRange => 400,
            Code::Unauthenticated => 401,
            Code::PermissionDenied => 403,
            Code::NotFound => 404,
            Code::DeadlineExceeded => 408,
            Code::AlreadyExists | Code::Aborted => 409,
            Code::FailedPrecondition => 412,
            Code::ResourceExhausted => 429,
            Code::Cancelled => 499,
            Code::Unimplemented => 501,
            Code::Unavailable => 503,
            Code::Unknown | Code::Internal | Code::DataLoss => 500,
        }
    }

    /// The code for a go-micro number: go-micro's own table (`server/grpc/error.go`, v2.9.1), and
    /// [`Code::Unknown`] for whatever it does not list, as 418.
    #[must_use]
    pub const fn from_micro_code(number: i32) -> Code {
        match number {
            200 => Code::Ok,
            400 => Code::InvalidArgument,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::NotFound,
            408 => Code::DeadlineExceeded,
            409 => Code::AlreadyExists,
            412 => Code::FailedPrecondition,
            500 => Code::Internal,
            501 => Code::Unimplemented,
            503 => Code::Unavailable,
            _ => Code::Unknown,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a call failed: a [`Code`], a message for people, and what a program may want beside it.
///
/// One pointer wide, so that `Result<T>` stays small. A status made on this side carries its cause in its
/// message, whole: what was tried, on what, for how long.
///
/// ```
/// use micro_runtime::{Code, Status};
///
/// let status = Status::not_found("no order 7").with_id("orders").with_micro_code(418);
/// assert_eq!(status.code(), Code::NotFound);
/// assert_eq!(status.to_string(), "NOT_FOUND: no order 7");
/// ```
#[derive(Clone)]
pub struct Status(Box<Inner>);

#[derive(Clone, Default)]
struct Inner {
    code: Option<Code>,
    message: String,
    id: String,
    micro_code: Option<i32>,
    details: Vec<Any>,
    metadata: Metadata,
}

// ===== impl Status =====

macro_rules! constructors {
    ($($name:ident $code:ident $doc:literal;)*) => {$(
        #[doc = $doc]
        #[must_use]
        pub fn $name(message: impl fmt::Display) -> Status {
            Status::new(Code::$code, message)
        }
    )*};
}

impl Status {
    /// A status of this code and message. The code [`Code::Ok`] is for trailers; a handler that succeeded
    /// returns `Ok`.
    #[must_use]
    pub fn new(code: Code, message: impl fmt::Display) -> Status {
        Status(Box::new(Inner {
            code: Some(code),
            message: message.to_string(),
            ..Inner::default()
        }))
    }

    constructors! {
        cancelled Cancelled "The call was given up by its caller.";
        unknown Unknown "An error that fits no other code.";
        invalid_argument InvalidArgument "The request is wrong, whatever the state of the system.";
        deadline_exceeded DeadlineExceeded "The time for the call ran out.";
        not_found NotFound "Something that was asked for does not exist.";
        already_exists AlreadyExists "Something that was to be made exists already.";
        permission_denied PermissionDenied "The caller is known and may not do this.";
        resource_exhausted ResourceExhausted "A quota, a limit or memory ran out.";
        failed_precondition FailedPrecondition "The system is not in the state that the operation needs.";
        aborted Aborted "The operation lost against another, and may be tried again as a whole.";
        out_of_range OutOfRange "The operation went past the valid range.";
        unimplemented Unimplemented "The method does not exist here.";
        internal Internal "An invariant is broken.";
        unavailable Unavailable "The service cannot be reached just now.";
        data_loss DataLoss "Data is lost or damaged beyond repair.";
        unauthenticated Unauthenticated "The caller is not known.";
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code.unwrap_or(Code::Unknown)
    }

    /// Its message, for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// go-micro's id of the error: by custom the name of the service that made it. Empty if none was set.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// go-micro's number of the error, an HTTP status by custom but any number by use: what was set or
    /// received, else the number of [`Status::code`].
    #[must_use]
    pub fn micro_code(&self) -> i32 {
        self.0
            .micro_code
            .unwrap_or_else(|| self.code().micro_code())
    }

    /// Typed details, as in `google.rpc.Status`; go-micro's own `errors.Error` is not among them.
    #[must_use]
    pub fn details(&self) -> &[Any] {
        &self.0.details
    }

    /// Metadata that came, or is to go, in the trailers beside the status.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.0.metadata
    }

    /// The same, to be changed.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.0.metadata
    }

    /// Sets go-micro's id. A server fills an empty one with the service's name.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Status {
        self.0.id = id.into();
        self
    }

    /// Sets go-micro's number, for a number that [`Status::code`] does not imply, such as 418.
    #[must_use]
    pub fn with_micro_code(mut self, number: i32) -> Status {
        self.0.micro_code = Some(number);
        self
    }

    /// Adds a typed detail.
    #[must_use]
    pub fn with_detail(mut self, detail: Any) -> Status {
        self.0.details.push(detail);
        self
    }

    /// Sets the metadata that goes into the trailers.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Status {
        self.0.metadata = metadata;
        self
    }

    /// A status from go-micro's number, with the [`Code`] of go-micro's own table.
    #[must_use]
    pub fn from_micro_code(number: i32, message: impl fmt::Display) -> Status {
        Status::new(Code::from_micro_code(number), message).with_micro_code(number)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code().name())?;
        if !self.0.message.is_empty() {
            write!(f, ": {}", self.0.message)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Status");
        out.field("code", &self.code())
            .field("message", &self.message());
        if !self.id().is_empty() {
            out.field("id", &self.id());
        }
        if let Some(number) = self.0.micro_code {
            out.field("micro_code", &number);
        }
        if !self.0.details.is_empty() {
            out.field("details", &self.0.details.len());
        }
        if !self.0.metadata.is_empty() {
            out.field("metadata", &self.0.metadata);
        }
        out.finish()
    }
}

impl std::error::Error for Status {}

/// Turns any error into a [`Status`] of a code of your choice: `parse(text).or_status(Code::InvalidArgument)?`.
pub trait OrStatus<T> {
    /// `Ok` stays; an error becomes a status of this code, whose message is the error's and that of its
    /// sources, parted by `": "`.
    ///
    /// # Errors
    /// The status, if there was an error.
    fn or_status(self, code: Code) -> Result<T>;
}

impl<T, E: std::error::Error> OrStatus<T> for std::result::Result<T, E> {
    fn or_status(self, code: Code) -> Result<T> {
        self.map_err(|error| {
            let mut message = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                let text = cause.to_string();
                if !message.contains(&text) {
                    message.push_str(": ");
                    message.push_str(&text);
                }
                source = cause.source();
            }
            Status::new(code, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_pointer_wide() {
        assert_eq!(size_of::<Status>(), size_of::<usize>());
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }

    #[test]
    fn numbers_round_trip() {
        for code in Code::ALL {
            assert_eq!(Code::from_number(i64::from(code.number())), code);
        }
        assert_eq!(Code::from_number(17), Code::Unknown);
        assert_eq!(Code::from_number(-1), Code::Unknown);
    }

    #[test]
    fn micro_codes_map_as_in_go() {
        let table = [
            (200, Code::Ok),
            (400, Code::InvalidArgument),
            (401, Code::Unauthenticated),
            (403, Code::PermissionDenied),
            (404, Code::NotFound),
            (408, Code::DeadlineExceeded),
            (409, Code::AlreadyExists),
            (412, Code::FailedPrecondition),
            (500, Code::Internal),
            (501, Code::Unimplemented),
            (503, Code::Unavailable),
        ];
        for (number, code) in table {
            assert_eq!(Code::from_micro_code(number), code);
            assert_eq!(code.micro_code(), number);
        }
        assert_eq!(Code::from_micro_code(418), Code::Unknown);
    }

    #[test]
    fn or_status_keeps_the_whole_chain() {
        let error = "x"
            .parse::<u8>()
            .or_status(Code::InvalidArgument)
            .unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert_eq!(error.message(), "invalid digit found in string");
    }
}
