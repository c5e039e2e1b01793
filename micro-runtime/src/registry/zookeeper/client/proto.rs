//! ZooKeeper's messages, as far as a registry needs them (`zookeeper.jute` of its sources).

use bytes::Bytes;

use super::jute::{Malformed, Reader, Writer};

/// What a request asks for (`ZooDefs.OpCode`).
pub(super) mod op {
    pub(crate) const CREATE: i32 = 1;
    pub(crate) const DELETE: i32 = 2;
    pub(crate) const EXISTS: i32 = 3;
    pub(crate) const GET_DATA: i32 = 4;
    pub(crate) const SET_DATA: i32 = 5;
    pub(crate) const GET_CHILDREN: i32 = 8;
    pub(crate) const PING: i32 = 11;
    pub(crate) const MULTI: i32 = 14;
    pub(crate) const REMOVE_WATCHES: i32 = 18;
    pub(crate) const AUTH: i32 = 100;
    pub(crate) const ADD_WATCH: i32 = 106;
    pub(crate) const CLOSE_SESSION: i32 = -11;
}

/// Numbers of messages that are no answers to requests of their own numbers.
pub(super) mod xid {
    pub(crate) const EVENT: i32 = -1;
    pub(crate) const PING: i32 = -2;
    pub(crate) const AUTH: i32 = -4;
}

/// Of a watch: on a node and everything below it, until it is taken away.
const PERSISTENT_RECURSIVE: i32 = 1;

/// Watches of any kind.
const ANY_WATCH: i32 = 3;

/// The node of a session, which ends with it.
const EPHEMERAL: i32 = 1;

/// In a transaction's answer: what was not done since something else failed.
const NOT_TRIED: i32 = -2;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Error {
    NoNode,
    NodeExists,
    BadVersion,
    NoAuth,
    AuthFailed,
    Unimplemented,
    Throttled,
    /// The session is over, or served by another connection: it may have been done.
    SessionLost,
    /// The connection is gone: it may have been done.
    ConnectionLost,
    /// The answer has more bytes than are read.
    TooLarge(usize),
    /// The answer cannot be read.
    Malformed,
    /// Another of ZooKeeper's codes.
    Other(i32),
}

/// Who may do what (`ZooDefs.Perms`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Acl {
    /// Everyone everything.
    Open,
    /// Everyone may read, and who we are everything.
    Ours,
}

/// What is known of a node beside its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Stat {
    /// The transaction that wrote it last.
    pub(in super::super) written: i64,
    /// Counts its changes.
    pub(in super::super) version: i32,
    /// Whose it is, if it ends with a session.
    pub(in super::super) owner: i64,
}

/// What a server says to a connection's first message.
pub(super) struct Welcome {
    /// In milliseconds; zero or less means that there is no such session any more.
    pub(super) timeout: i32,
    pub(super) session: i64,
    pub(super) password: Bytes,
}

/// What every answer begins with.
pub(super) struct Head {
    pub(super) xid: i32,
    /// The last transaction that the server had done.
    pub(super) transaction: i64,
    pub(super) code: i32,
}

// ===== impl Error =====

impl Error {
    /// ZooKeeper's code (`KeeperException.Code`); `None` is success.
    pub(super) fn of(code: i32) -> Option<Error> {
        Some(match code {
            0 => return None,
            -6 => Error::Unimplemented,
            -4 => Error::ConnectionLost,
            -101 => Error::NoNode,
            -102 => Error::NoAuth,
            -103 => Error::BadVersion,
            -110 => Error::NodeExists,
            -112 | -118 => Error::SessionLost,
            -115 => Error::AuthFailed,
            -127 => Error::Throttled,
            code => Error::Other(code),
        })
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Error::NoNode => "there is no such node",
            Error::NodeExists => "the node exists",
            Error::BadVersion => "the node was changed meanwhile",
            Error::NoAuth => "not authorized (NoAuth)",
            Error::AuthFailed => "it does not take who we are (AuthFailed)",
            Error::Unimplemented => "it does not know this request",
            Error::Throttled => "it has too much to do",
            Error::SessionLost => "the session is over",
            Error::ConnectionLost => "the connection was lost",
            Error::TooLarge(bytes) => {
                return write!(
                    f,
                    "its answer has {bytes} bytes, the limit is {}",
                    super::ANSWER_MAX
                );
            }
            Error::Malformed => "its answer cannot be read",
            Error::Other(-8) => "it does not take the path (BadArguments)",
            Error::Other(-114) => "it does not take the access list (InvalidACL)",
            Error::Other(-119) => "it is read-only now",
            Error::Other(-124) => "it wants SASL, which is not spoken here",
            Error::Other(-125) => "the quota is used up",
            Error::Other(code) => return write!(f, "code {code}"),
        })
    }
}

impl From<Malformed> for Error {
    fn from(_: Malformed) -> Error {
        Error::Malformed
    }
}

// ===== requests =====

/// A connection's first message: a new session, if `session` is zero, or one that was lost with its connection.
pub(super) fn hello(seen: i64, timeout: i32, session: i64, password: &[u8]) -> Bytes {
    let protocol = 0;
    let hello = Writer::default().int(protocol).long(seen).int(timeout);
    let read_only = false;
    hello.long(session).data(password).bool(read_only).done()
}

/// A request with its number.
pub(super) fn request(xid: i32, operation: i32, body: &[u8]) -> Bytes {
    Writer::default()
        .int(xid)
        .int(operation)
        .append(body)
        .done()
}

pub(super) fn auth(scheme: &str, credentials: &[u8]) -> Bytes {
    let kind = 0;
    Writer::default()
        .int(kind)
        .text(scheme)
        .data(credentials)
        .done()
}

/// A path without a watch.
pub(super) fn path(path: &str) -> Bytes {
    Writer::default().text(path).bool(false).done()
}

pub(super) fn create(path: &str, data: &[u8], acl: Acl, is_ephemeral: bool) -> Bytes {
    let (everything, read) = (0b1_1111, 0b1);
    let request = Writer::default().text(path).data(data);
    let request = match acl {
        Acl::Open => request.int(1).int(everything).text("world").text("anyone"),
        Acl::Ours => {
            let ours = request.int(2).int(everything).text("auth").text("");
            ours.int(read).text("world").text("anyone")
        }
    };
    request.int(if is_ephemeral { EPHEMERAL } else { 0 }).done()
}

/// Deletes the node with this version; -1 is any.
pub(super) fn delete(path: &str, version: i32) -> Bytes {
    Writer::default().text(path).int(version).done()
}

pub(super) fn set_data(path: &str, data: &[u8], version: i32) -> Bytes {
    Writer::default().text(path).data(data).int(version).done()
}

/// All of these, or none.
pub(super) fn transaction(requests: &[(i32, Bytes)]) -> Bytes {
    let mut writer = Writer::default();
    for (operation, body) in requests {
        writer = writer.int(*operation).bool(false).int(-1).append(body);
    }
    writer.int(-1).bool(true).int(-1).done()
}

pub(super) fn add_watch(path: &str) -> Bytes {
    Writer::default()
        .text(path)
        .int(PERSISTENT_RECURSIVE)
        .done()
}

pub(super) fn remove_watches(path: &str) -> Bytes {
    Writer::default().text(path).int(ANY_WATCH).done()
}

// ===== answers =====

pub(super) fn welcome(message: Bytes) -> Result<Welcome, Malformed> {
    let mut reader = Reader::new(message);
    let _protocol = reader.int()?;
    Ok(Welcome {
        timeout: reader.int()?,
        session: reader.long()?,
        password: reader.data()?,
        // Whether the server is read-only follows; servers before 3.4 do not say. It was not allowed to be.
    })
}

pub(super) fn head(message: Bytes) -> Result<(Head, Reader), Malformed> {
    let mut reader = Reader::new(message);
    let head = Head {
        xid: reader.int()?,
        transaction: reader.long()?,
        code: reader.int()?,
    };
    Ok((head, reader))
}

/// The path that an event is about; `None` for one of the session.
pub(super) fn event(mut reader: Reader) -> Result<Option<String>, Malformed> {
    let (kind, _state) = (reader.int()?, reader.int()?);
    let path = reader.text()?;
    Ok((kind > 0).then_some(path))
}

pub(super) fn stat(reader: &mut Reader) -> Result<Stat, Malformed> {
    let _created = reader.long()?;
    let written = reader.long()?;
    let (_created_at, _written_at) = (reader.long()?, reader.long()?);
    let version = reader.int()?;
    let (_children_version, _acl_version) = (reader.int()?, reader.int()?);
    let owner = reader.long()?;
    let (_length, _children, _children_written) = (reader.int()?, reader.int()?, reader.long()?);
    Ok(Stat {
        written,
        version,
        owner,
    })
}

/// What became of a transaction.
pub(super) fn transacted(mut reader: Reader) -> Result<(), Error> {
    let mut failed = None;
    loop {
        let (operation, is_end, code) = (reader.int()?, reader.bool()?, reader.int()?);
        if is_end {
            return failed.map_or(Ok(()), Err);
        }
        match operation {
            // An error, whose code stands once more.
            -1 => {
                let code = if code == 0 {
                    reader.int()?
                } else {
                    reader.int().unwrap_or(code)
                };
                if code != NOT_TRIED && failed.is_none() {
                    failed = Error::of(code);
                }
            }
            op::CREATE => {
                let _path = reader.text()?;
            }
            op::DELETE => {}
            _ => return Err(Error::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_transaction_tells_what_failed_first() {
        let done = Writer::default()
            .int(op::DELETE)
            .bool(false)
            .int(0)
            .int(op::CREATE)
            .bool(false)
            .int(0)
            .text("/a")
            .int(-1)
            .bool(true)
            .int(-1)
            .done();
        assert_eq!(transacted(Reader::new(done.clone())), Ok(()));
        assert_eq!(
            transacted(Reader::new(done.slice(..10))),
            Err(Error::Malformed)
        );
        let failed = |codes: &[i32]| {
            let mut writer = Writer::default();
            for code in codes {
                writer = writer.int(-1).bool(false).int(*code).int(*code);
            }
            transacted(Reader::new(writer.int(-1).bool(true).int(-1).done()))
        };
        assert_eq!(failed(&[-103, -2]), Err(Error::BadVersion));
        assert_eq!(failed(&[0, -102]), Err(Error::NoAuth));
    }

    #[test]
    fn events_name_paths_but_those_of_sessions() {
        let event_of = |kind: i32| {
            let message = Writer::default().int(kind).int(3).text("/a/b").done();
            event(Reader::new(message))
        };
        assert_eq!(event_of(1), Ok(Some("/a/b".to_owned())));
        assert_eq!(event_of(-1), Ok(None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            let _ = (welcome(bytes.clone()), head(bytes.clone()), event(Reader::new(bytes.clone())));
            let _ = (stat(&mut Reader::new(bytes.clone())), transacted(Reader::new(bytes)));
        }
    }
}
