//! [`Io`], any byte stream, and [`ConnInfo`], who is at its other end.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::PeerIdentity;

/// An address of a peer, or of this side.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerAddr {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket; a client's has no path.
    Unix(Option<std::path::PathBuf>),
    /// In this process.
    Local,
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddr::Tcp(address) => address.fmt(f),
            PeerAddr::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            PeerAddr::Unix(None) => f.write_str("unix:"),
            PeerAddr::Local => f.write_str("local"),
        }
    }
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpVersion {
    /// HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
    /// No HTTP: in-process.
    None,
}

/// Who is at the other end of a connection, and how it is spoken to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnInfo {
    /// The peer's address.
    pub peer: PeerAddr,
    /// This side's address.
    pub local: PeerAddr,
    /// What is spoken.
    pub version: HttpVersion,
    /// Whether it is encrypted (TLS).
    pub secure: bool,
    /// Who the peer has proved to be, where it has.
    pub identity: Option<PeerIdentity>,
}

impl ConnInfo {
    /// A connection between these addresses; the version is set by whoever finds it out.
    #[must_use]
    pub fn new(peer: PeerAddr, local: PeerAddr) -> ConnInfo {
        ConnInfo {
            peer,
            local,
            version: HttpVersion::None,
            secure: false,
            identity: None,
        }
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Any byte stream, with what was read ahead of it.
pub struct Io {
    ahead: Bytes,
    stream: Box<dyn Duplex>,
    /// Where the first bytes are noted; `None` when nobody asks, and once they are.
    first: Option<Arc<OnceLock<[u8; FIRST_BYTES]>>>,
}

/// So many first bytes tell one protocol from another.
pub(crate) const FIRST_BYTES: usize = 4;

// ===== impl Io =====

impl Io {
    /// This stream.
    #[must_use]
    pub fn new(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Io {
        Io {
            ahead: Bytes::new(),
            stream: Box::new(stream),
            first: None,
        }
    }

    /// Where the first bytes that are read from the stream will be, so that who finds an answer odd can say what
    /// it was. Zeros stand for those that did not come with the first read.
    pub(crate) fn first_bytes(&mut self) -> Arc<OnceLock<[u8; FIRST_BYTES]>> {
        Arc::clone(self.first.get_or_insert_default())
    }

    fn note_first(&mut self, read: &[u8]) {
        if !read.is_empty()
            && let Some(first) = self.first.take()
        {
            let mut bytes = [0; FIRST_BYTES];
            for (to, from) in bytes.iter_mut().zip(read) {
                *to = *from;
            }
            // It is empty: it is taken out here alone.
            let _ = first.set(bytes);
        }
    }

    /// The same stream, with bytes that were read from it before and are to be read again, first.
    #[must_use]
    pub fn with_ahead(mut self, ahead: Bytes) -> Io {
        debug_assert!(self.ahead.is_empty(), "bytes read ahead would be lost");
        self.ahead = ahead;
        self
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let len = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..len]);
            self.ahead.advance(len);
            return Poll::Ready(Ok(()));
        }
        if self.first.is_none() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.note_first(buf.filled().get(before..).unwrap_or_default());
        polled
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io")
            .field("ahead", &self.ahead.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn reads_what_was_read_ahead_first() {
        let (mut near, far) = tokio::io::duplex(64);
        near.write_all(b"world").await.unwrap();
        drop(near);
        let mut io = Io::new(far).with_ahead(Bytes::from_static(b"hello "));
        let mut text = String::new();
        io.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello world");
    }

    #[tokio::test]
    async fn notes_the_first_bytes_once() {
        let (mut near, far) = tokio::io::duplex(64);
        let mut io = Io::new(far);
        let first = io.first_bytes();
        assert_eq!(first.get(), None);
        near.write_all(b"ab").await.unwrap();
        assert_eq!(io.read_u8().await.unwrap(), b'a');
        assert_eq!(first.get(), Some(b"a\0\0\0"));
        assert_eq!(io.read_u8().await.unwrap(), b'b');
        assert_eq!(first.get(), Some(b"a\0\0\0"));
    }
}
