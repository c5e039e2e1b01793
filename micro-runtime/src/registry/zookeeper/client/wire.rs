//! Connections to servers: dialled, greeted, and read message by message.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::jute::Reader;
use super::proto::{self, Error, Welcome, op, xid};
use super::{ANSWER_MAX, Options, Server};
use crate::exchange::Io;
use crate::transport::dial_tcp;

/// What claims to be longer than this is no message of ZooKeeper's.
const CLAIM_MAX: usize = 128 * 1024 * 1024;

/// How much room a read is given at least.
const ROOM: usize = 8 * 1024;

/// A message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Whole(Bytes),
    /// One with more bytes than are read; they are passed over.
    TooLarge(usize),
}

/// Reads messages, each of which has its length before it.
pub(super) struct Frames<R> {
    io: R,
    buffer: BytesMut,
    /// What is still to come of a message that is passed over.
    skip: usize,
}

/// The session as its client knows it. The password is a secret.
#[derive(Clone, Default)]
pub(super) struct Identity {
    /// Zero is none.
    pub(super) session: i64,
    pub(super) password: Bytes,
    /// The last transaction that a server told of: one that has not seen it yet takes no connection.
    pub(super) seen: i64,
}

/// A connection that a session goes over.
pub(super) struct Link {
    pub(super) frames: Frames<tokio::io::ReadHalf<Io>>,
    pub(super) write: tokio::io::WriteHalf<Io>,
    pub(super) welcome: Welcome,
}

/// Why a server gave no [`Link`].
pub(super) enum Refused {
    /// It is another server's turn.
    Unreachable(String),
    /// There is no such session any more, says ZooKeeper.
    Expired,
    /// ZooKeeper does not take who we are.
    Auth,
}

// ===== impl Frames =====

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(super) fn new(io: R, buffer: BytesMut) -> Frames<R> {
        Frames {
            io,
            buffer,
            skip: 0,
        }
    }

    /// The next message.
    ///
    /// # Errors
    ///
    /// The connection is over, or what came is no message; the text says why.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Frame, String> {
        loop {
            if let Some(frame) = self.parse()? {
                return Ok(frame);
            }
            // Room for what has come, not for what a length says will.
            self.buffer.reserve(ROOM);
            match self.io.read_buf(&mut self.buffer).await {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    #[cfg(test)]
    pub(super) fn stream(&mut self) -> &mut R {
        &mut self.io
    }

    fn parse(&mut self) -> Result<Option<Frame>, String> {
        let skipped = self.skip.min(self.buffer.len());
        self.buffer.advance(skipped);
        self.skip -= skipped;
        if self.skip > 0 {
            return Ok(None);
        }
        let Some(&length) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > CLAIM_MAX {
            return Err("what came is no message of ZooKeeper's".to_owned());
        }
        if length > ANSWER_MAX {
            self.buffer.advance(4);
            self.skip = length;
            return Ok(Some(Frame::TooLarge(length)));
        }
        if self.buffer.len() < 4 + length {
            return Ok(None);
        }
        self.buffer.advance(4);
        Ok(Some(Frame::Whole(self.buffer.split_to(length).freeze())))
    }
}

/// Puts a message with its length before it.
pub(super) fn put_frame(out: &mut BytesMut, message: &[u8]) {
    // Requests are far smaller than a length can say.
    out.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    out.put_slice(message);
}

/// Makes a connection to a server, and goes on with the session over it, or begins one.
///
/// It has no time-out of its own.
pub(super) async fn open(
    server: &Server,
    options: &Options,
    identity: &Identity,
) -> Result<Link, Refused> {
    let io = dial(server).await.map_err(Refused::Unreachable)?;
    let (read, mut write) = tokio::io::split(io);
    let mut frames = Frames::new(read, BytesMut::new());
    let Identity {
        session,
        password,
        seen,
    } = identity;
    let timeout = i32::try_from(options.session_timeout.as_millis()).unwrap_or(i32::MAX);
    let mut out = BytesMut::new();
    put_frame(&mut out, &proto::hello(*seen, timeout, *session, password));
    let lost = |error: std::io::Error| Refused::Unreachable(error.to_string());
    write.write_all(&out).await.map_err(lost)?;
    write.flush().await.map_err(lost)?;
    let answer = answer(&mut frames, server, *session == 0).await?;
    let welcome = proto::welcome(answer).map_err(|_| no_zookeeper())?;
    if welcome.timeout <= 0 {
        return Err(Refused::Expired);
    }
    if let Some(digest) = &options.digest {
        out.clear();
        let auth = proto::auth("digest", digest.as_bytes());
        put_frame(&mut out, &proto::request(xid::AUTH, op::AUTH, &auth));
        write.write_all(&out).await.map_err(lost)?;
        write.flush().await.map_err(lost)?;
        authenticated(&mut frames).await?;
    }
    Ok(Link {
        frames,
        write,
        welcome,
    })
}

/// The answer to a connection's first message.
async fn answer<R: AsyncRead + Unpin>(
    frames: &mut Frames<R>,
    server: &Server,
    is_first: bool,
) -> Result<Bytes, Refused> {
    let next = frames.next().await;
    // A TLS record with an alert (RFC 8446 §5.1) is what a TLS server says to who does not speak TLS.
    if !server.is_secure() && frames.buffer.starts_with(&[0x15, 3]) {
        return Err(Refused::Unreachable(
            "the server speaks TLS there: write zks:// before the address".to_owned(),
        ));
    }
    match next {
        Ok(Frame::Whole(message)) => Ok(message),
        Ok(Frame::TooLarge(_)) => Err(no_zookeeper()),
        // One that took us before speaks no TLS now: it is starting, or has no leader.
        Err(why) if server.is_secure() || !is_first => Err(Refused::Unreachable(why)),
        Err(why) => Err(Refused::Unreachable(format!(
            "{why} before it said anything; if it speaks TLS there, write zks:// before the address"
        ))),
    }
}

/// Waits for the answer to who we are.
async fn authenticated<R: AsyncRead + Unpin>(frames: &mut Frames<R>) -> Result<(), Refused> {
    loop {
        let message = match frames.next().await.map_err(Refused::Unreachable)? {
            Frame::Whole(message) => message,
            Frame::TooLarge(_) => return Err(no_zookeeper()),
        };
        let (head, _): (_, Reader) = proto::head(message).map_err(|_| no_zookeeper())?;
        match (head.xid, Error::of(head.code)) {
            (xid::AUTH, None) => return Ok(()),
            (xid::AUTH, Some(_)) => return Err(Refused::Auth),
            // News of the session.
            _ => {}
        }
    }
}

fn no_zookeeper() -> Refused {
    Refused::Unreachable("what answers there is no ZooKeeper".to_owned())
}

async fn dial(server: &Server) -> Result<Io, String> {
    let stream = dial_tcp(&server.host, server.port).await;
    let io = Io::new(stream.map_err(|error| format!("cannot connect: {error}"))?);
    #[cfg(feature = "tls")]
    if let Some(tls) = &server.tls {
        let secured = tls.connect(io, &server.host, &[]).await;
        return secured.map_err(|broken| broken.detail);
    }
    Ok(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_come_in_any_pieces() {
        let mut sent = BytesMut::new();
        put_frame(&mut sent, b"one");
        put_frame(&mut sent, b"");
        put_frame(&mut sent, b"three");
        for piece in 1..sent.len() {
            let mut mock = tokio_test_io(&sent, piece);
            let mut found = Vec::new();
            while let Ok(Frame::Whole(message)) = mock.next().await {
                found.push(message);
            }
            assert_eq!(found, ["one", "", "three"], "in pieces of {piece}");
        }
    }

    #[tokio::test]
    async fn what_is_too_large_is_passed_over() {
        let mut sent = BytesMut::new();
        sent.put_u32(u32::try_from(ANSWER_MAX + 1).unwrap());
        sent.put_bytes(7, ANSWER_MAX + 1);
        put_frame(&mut sent, b"next");
        let mut frames = tokio_test_io(&sent, 1 << 20);
        assert_eq!(frames.next().await, Ok(Frame::TooLarge(ANSWER_MAX + 1)));
        assert_eq!(frames.next().await, Ok(Frame::Whole("next".into())));
        assert!(
            frames.buffer.capacity() < 4 << 20,
            "{}",
            frames.buffer.capacity()
        );
    }

    #[tokio::test]
    async fn what_is_no_message_ends_the_connection() {
        for bad in [&b"HTTP/1.1 400"[..], &[0xff; 4], &[0x15, 3, 3, 0]] {
            let error = tokio_test_io(bad, 100).next().await.unwrap_err();
            assert_eq!(error, "what came is no message of ZooKeeper's");
        }
        let error = tokio_test_io(&[0, 0, 0, 9, 1], 100)
            .next()
            .await
            .unwrap_err();
        assert_eq!(error, "the server closed the connection");
    }

    /// A connection that gives these bytes in pieces, and ends.
    fn tokio_test_io(bytes: &[u8], piece: usize) -> Frames<tokio::io::DuplexStream> {
        let (ours, mut theirs) = tokio::io::duplex(piece);
        let bytes = bytes.to_vec();
        tokio::spawn(async move {
            for piece in bytes.chunks(piece) {
                if theirs.write_all(piece).await.is_err() {
                    return;
                }
            }
        });
        Frames::new(ours, BytesMut::new())
    }
}
