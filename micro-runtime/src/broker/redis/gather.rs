//! [`Gather`]: a connection whose writes wait for a turn of the runtime.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is at least as much goes at once.
const ENOUGH: usize = 8 * 1024;

/// A byte stream to which little is written only when every task that is ready by then has run.
///
/// When answers come in, all who waited for them are woken, and many of them have a next command. Without this the
/// first of them is written alone, with a system call here and another one at the server, which carries it out alone,
/// too: with `appendfsync always` each such round costs it a write to the disk. Where nobody else is ready it costs
/// one more poll.
pub(super) struct Gather<T> {
    io: T,
    /// The others had their turn.
    waited: bool,
}

// ===== impl Gather =====

impl<T> Gather<T> {
    pub(super) fn new(io: T) -> Gather<T> {
        Gather { io, waited: false }
    }

    /// Ready when so much may be written.
    fn poll_turn(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<()> {
        if !self.waited && bytes < ENOUGH {
            self.waited = true;
            // Woken while it is polled, a task comes behind those that are ready.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gather<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gather<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.poll_turn(cx, bytes.len()).is_pending() {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.waited &= written.is_pending();
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        if self.poll_turn(cx, bytes).is_pending() {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.waited &= written.is_pending();
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn little_waits_for_one_turn_and_much_for_none() {
        let (near, mut far) = duplex(1 << 16);
        let mut gather = Gather::new(near);
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..2 {
            let mut write = |bytes| Pin::new(&mut gather).poll_write(&mut cx, bytes);
            assert!(write(b"a").is_pending());
            assert!(matches!(write(b"ab"), Poll::Ready(Ok(2))));
        }
        let much = vec![0; ENOUGH];
        let written = Pin::new(&mut gather).poll_write(&mut cx, &much);
        assert!(matches!(written, Poll::Ready(Ok(ENOUGH))));
        // Whoever awaits it is woken by it.
        gather.write_all(b"end").await.unwrap();
        drop(gather);
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        assert_eq!((all.len(), &all[..4]), (ENOUGH + 7, &b"abab"[..]));
    }
}
