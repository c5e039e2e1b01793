//! [`Fault`]: why something did not work, and whether waiting may mend it.

use lapin::ErrorKind as Kind;

use crate::error::{Error, ErrorKind};

/// Reply codes of AMQP 0-9-1.
pub(super) const ACCESS_REFUSED: u16 = 403;
pub(super) const NOT_FOUND: u16 = 404;
pub(super) const RESOURCE_LOCKED: u16 = 405;
pub(super) const PRECONDITION_FAILED: u16 = 406;
pub(super) const NOT_ALLOWED: u16 = 530;

/// Why something did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection or the channel is gone, or was not made: it may work later.
    Lost(String),
    /// A setting is wrong, or what is declared there differs: it will not work later.
    Config(String),
}

// ===== impl Fault =====

impl Fault {
    pub(super) fn text(&self) -> &str {
        match self {
            Fault::Lost(text) | Fault::Config(text) => text,
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        match fault {
            Fault::Lost(text) => Error::new(ErrorKind::Broker, text),
            Fault::Config(text) => Error::new(ErrorKind::Config, text),
        }
    }
}

/// The server's reply code and text, if the error is one of the server's.
pub(super) fn reply(error: &lapin::Error) -> Option<(u16, String)> {
    match error.kind() {
        Kind::ProtocolError(error) => {
            let text = error.get_message().as_str().trim_end_matches('.');
            Some((error.get_id(), text.to_owned()))
        }
        _ => None,
    }
}

/// An error of the library's as text: the server's words alone, where they are.
pub(super) fn shown(error: &lapin::Error) -> String {
    match (reply(error), error.kind()) {
        (Some((_, text)), _) => text,
        (None, Kind::MissingHeartbeatError) => "the server gave no sign of life".to_owned(),
        (None, Kind::InvalidChannelState(..) | Kind::InvalidConnectionState(_)) => {
            "the connection is gone".to_owned()
        }
        (None, _) => error.to_string(),
    }
}
