//! [`Refusal`]: what an error of the server or of the connection means for who asked.

use redis::{ErrorKind as Kind, RedisError, ServerErrorKind};

use crate::error::{Error, ErrorKind};

/// What an error means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The connection is gone, or of no use: another one may do.
    Lost(String),
    /// The server takes no writes; another one, or this one later, may.
    Elsewhere(String),
    /// The server cannot now; later it may.
    Busy(String),
    /// The group, or the whole stream, is not there.
    NoGroup,
    /// Waiting does not mend it.
    Config(String),
    /// This server never can.
    Unsupported(String),
}

// ===== impl Refusal =====

impl Refusal {
    pub(super) fn of(error: &RedisError) -> Refusal {
        let why = error.to_string();
        match error.kind() {
            Kind::AuthenticationFailed => return Refusal::Config(credentials()),
            Kind::RESP3NotSupported => return too_old(),
            Kind::Io | Kind::Parse => return Refusal::Lost(why),
            Kind::Server(ServerErrorKind::NoPerm) => {
                return Refusal::Config(format!(
                    "Redis does not allow this user what it needs, see ACL in the documentation of Redis: {why}"
                ));
            }
            // What was written to may be a replica since a failover: another address may be the master now.
            Kind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => {
                return Refusal::Elsewhere(why);
            }
            Kind::Server(ServerErrorKind::Moved | ServerErrorKind::CrossSlot) => {
                return Refusal::Unsupported(
                    "expected a single Redis server or a master with replicas, found a member of a cluster"
                        .to_owned(),
                );
            }
            _ => {}
        }
        match error.code() {
            Some("NOAUTH" | "WRONGPASS") => Refusal::Config(credentials()),
            Some("NOGROUP") => Refusal::NoGroup,
            Some("WRONGTYPE") => Refusal::Config(format!(
                "the key of a topic's stream holds something else: set another prefix for this broker's keys: {why}"
            )),
            _ if why.contains("unknown command") || why.contains("nknown subcommand") => too_old(),
            _ if why.contains("DB index is out of range") => {
                Refusal::Config(format!("Redis has no such database: {why}"))
            }
            _ => Refusal::Busy(why),
        }
    }

    /// As what a caller gets when it is not tried again.
    pub(super) fn into_error(self, what: &str) -> Error {
        let (kind, why) = match self {
            Refusal::Lost(why) | Refusal::Elsewhere(why) | Refusal::Busy(why) => {
                (ErrorKind::Broker, why)
            }
            Refusal::NoGroup => (ErrorKind::Broker, "the group is gone".to_owned()),
            Refusal::Config(why) => (ErrorKind::Config, why),
            Refusal::Unsupported(why) => (ErrorKind::Unsupported, why),
        };
        Error::new(kind, format_args!("redis: {what}: {why}"))
    }

    /// Whether waiting does not mend it.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Refusal::Config(_) | Refusal::Unsupported(_))
    }

    /// The reason, to show.
    pub(super) fn why(&self) -> &str {
        match self {
            Refusal::NoGroup => "the group is gone",
            Refusal::Lost(why)
            | Refusal::Elsewhere(why)
            | Refusal::Busy(why)
            | Refusal::Config(why)
            | Refusal::Unsupported(why) => why,
        }
    }
}

fn credentials() -> String {
    "the server refuses the user or the password: give those it expects, as redis://user:password@host:port".to_owned()
}

fn too_old() -> Refusal {
    Refusal::Unsupported(
        "the server lacks a command: expected Redis 6.2 or later, or Valkey".to_owned(),
    )
}
