//! [`Stream`]: a TLS stream whose errors are in our words.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_rustls::rustls::{self, ConnectionCommon, SideData};
use tokio_rustls::{client, server};

use super::error::reword;

/// How long a write that failed waits for the reason. What a peer said before it reset the connection is there
/// already, and only has to be reported as readable.
const REASON: Duration = Duration::from_millis(500);

/// Hands everything through; the end of the stream without a goodbye (`close_notify`) is an error, so that
/// what was cut off is never taken for whole. One task polls it.
pub(super) struct Stream<T> {
    io: T,
    failed: Option<Box<Failed>>,
}

/// A write that failed, of which the peer may have said why.
struct Failed {
    error: io::Error,
    until: Pin<Box<Sleep>>,
}

/// A byte stream with the TLS session that runs over it.
pub(super) trait Session: AsyncRead + AsyncWrite + Unpin {
    /// Reads on until the alert of a peer that takes nothing any more, or its end.
    fn poll_alert(&mut self, cx: &mut Context<'_>) -> Poll<Option<rustls::Error>>;
}

/// A byte stream as `rustls` reads it.
struct Blocking<'a, 'b, T> {
    io: &'a mut T,
    cx: &'a mut Context<'b>,
}

// ===== impl Session =====

impl<T: AsyncRead + AsyncWrite + Unpin> Session for client::TlsStream<T> {
    fn poll_alert(&mut self, cx: &mut Context<'_>) -> Poll<Option<rustls::Error>> {
        let (io, session) = self.get_mut();
        poll_alert(io, session, cx)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Session for server::TlsStream<T> {
    fn poll_alert(&mut self, cx: &mut Context<'_>) -> Poll<Option<rustls::Error>> {
        let (io, session) = self.get_mut();
        poll_alert(io, session, cx)
    }
}

/// Whatever it reads that is no alert stays in the session, for who reads the stream.
fn poll_alert<T, S>(
    io: &mut T,
    session: &mut ConnectionCommon<S>,
    cx: &mut Context<'_>,
) -> Poll<Option<rustls::Error>>
where
    T: AsyncRead + Unpin,
    S: SideData,
{
    loop {
        match session.read_tls(&mut Blocking { io, cx }) {
            Ok(1..) => {
                if let Err(error) = session.process_new_packets() {
                    return Poll::Ready(Some(error));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            // The end; or more plaintext than a session holds, which is no alert.
            Ok(0) | Err(_) => return Poll::Ready(None),
        }
    }
}

impl<T: AsyncRead + Unpin> io::Read for Blocking<'_, '_, T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        match Pin::new(&mut *self.io).poll_read(self.cx, &mut buf) {
            Poll::Ready(read) => read.map(|()| buf.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

// ===== impl Stream =====

impl<T: Session> Stream<T> {
    pub(super) fn new(io: T) -> Stream<T> {
        Stream { io, failed: None }
    }

    /// Writes, and says why the peer takes no more. A server that refuses a client's certificate in TLS 1.3
    /// does so after the handshake, and closes: a client that writes meanwhile meets a broken pipe while the
    /// reason lies unread.
    fn write_with<R>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut T>, &mut Context<'_>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        if self.failed.is_none() {
            let error = match write(Pin::new(&mut self.io), cx) {
                Poll::Ready(Err(error)) => error,
                written => return written,
            };
            if !matches!(
                error.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset
            ) {
                return Poll::Ready(Err(reword(error)));
            }
            let until = Box::pin(tokio::time::sleep(REASON));
            self.failed = Some(Box::new(Failed { error, until }));
        }
        self.poll_reason(cx).map(Err)
    }

    /// Why a write failed.
    fn poll_reason(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let alert = self.io.poll_alert(cx);
        let Some(failed) = &mut self.failed else {
            return Poll::Ready(io::ErrorKind::BrokenPipe.into());
        };
        let error = match alert {
            Poll::Pending => {
                std::task::ready!(failed.until.as_mut().poll(cx));
                None
            }
            Poll::Ready(alert) => alert,
        };
        let kind = failed.error.kind();
        Poll::Ready(match error {
            Some(alert) => reword(io::Error::new(kind, alert)),
            // It may be asked for again, and errors cannot be cloned.
            None => std::mem::replace(&mut failed.error, kind.into()),
        })
    }
}

impl<T: Session> AsyncRead for Stream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf).map_err(reword)
    }
}

impl<T: Session> AsyncWrite for Stream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write_with(cx, |io, cx| io.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write_with(cx, |io, cx| io.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write_with(cx, |io, cx| io.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx).map_err(reword)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio_rustls::rustls::AlertDescription;

    const NEVER: u32 = u32::MAX;

    /// A peer that takes nothing any more, and what it said before, if that is to be heard at all.
    struct Gone {
        heard_after: u32,
        alert: Option<AlertDescription>,
    }

    impl Session for Gone {
        fn poll_alert(&mut self, cx: &mut Context<'_>) -> Poll<Option<rustls::Error>> {
            match self.heard_after {
                0 => Poll::Ready(self.alert.map(rustls::Error::AlertReceived)),
                NEVER => Poll::Pending,
                _ => {
                    self.heard_after -= 1;
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            }
        }
    }

    impl AsyncRead for Gone {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Gone {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn gone(heard_after: u32, alert: Option<AlertDescription>) -> Stream<Gone> {
        Stream::new(Gone { heard_after, alert })
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_fails_tells_why_the_peer_refused() {
        for heard_after in [0, 3] {
            let alert = Some(AlertDescription::CertificateRequired);
            let mut stream = gone(heard_after, alert);
            let error = stream.write(b"x").await.unwrap_err();
            assert!(error.to_string().contains("requires a certificate"));
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            let error = stream.flush().await.unwrap_err();
            assert!(error.to_string().contains("requires a certificate"));
        }
        let error = gone(2, None).flush().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_for_the_reason_no_longer_than_half_a_second() {
        let begun = tokio::time::Instant::now();
        let mut stream = gone(NEVER, None);
        let error = stream.write(b"x").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(begun.elapsed(), REASON);
    }
}
