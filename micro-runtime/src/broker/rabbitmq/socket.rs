//! [`Socket`]: our own sockets and TLS, as the library's runtime wants to see them.
//!
//! The library takes its streams from a "reactor". Ours hands out none: a stream is made before the library is
//! called, and given to it ready.

use std::future::{Future, ready};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_core::Stream;
use lapin::uri::AMQPUri;
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::tap::{Tap, Walker};
use crate::exchange::Io;
use crate::lock::lock;

/// A stream to a server, whose bytes are looked at on their way.
pub(super) struct Socket {
    io: Io,
    tap: Arc<Tap>,
    walker: Walker,
    /// Ends reading when its other half is dropped without a word.
    cut: Option<oneshot::Receiver<()>>,
    /// The library polls from a thread of its own, where TLS finds no timers.
    runtime: Handle,
}

/// Cuts a connection that is being made, unless [`spare`](Scissors::spare) is called: without it the library's
/// thread would wait for a server that is mute for ever.
pub(super) struct Scissors(oneshot::Sender<()>);

/// The library's view of tokio, with our streams.
#[derive(Clone, Debug)]
struct Sockets(Tokio);

// ===== impl Socket =====

impl Socket {
    pub(super) fn new(io: Io, tap: Arc<Tap>, publishes: bool) -> (Socket, Scissors) {
        let (sender, cut) = oneshot::channel();
        let socket = Socket {
            io,
            tap,
            walker: Walker::new(publishes),
            cut: Some(cut),
            runtime: Handle::current(),
        };
        (socket, Scissors(sender))
    }
}

impl Scissors {
    pub(super) fn spare(self) {
        // Whoever has the other half is gone: there is nothing to spare.
        let _ = self.0.send(());
    }
}

/// Speaks AMQP over a stream.
pub(super) async fn speak(
    socket: Socket,
    uri: AMQPUri,
    properties: ConnectionProperties,
) -> lapin::Result<Connection> {
    let tokio = Tokio::default().with_handle(Handle::current());
    let runtime = Runtime::new(RuntimeParts::new(tokio.clone(), Sockets(tokio)));
    let socket = Mutex::new(Some(socket));
    let connect = async move |_: AMQPUri, _: Runtime<RuntimeParts<Tokio, Sockets>>| {
        let socket = lock(&socket).take();
        socket
            .map(AsyncTcpStream::Plain)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected).into())
    };
    Connection::connector(uri, runtime, connect, properties).await
}

impl futures_io::AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let _entered = this.runtime.enter();
        if let Some(cut) = &mut this.cut
            && let Poll::Ready(word) = Pin::new(cut).poll(cx)
        {
            if word.is_err() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            this.cut = None;
        }
        let mut buffer = ReadBuf::new(buffer);
        match Pin::new(&mut this.io).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => {
                this.walker.see(buffer.filled(), &this.tap);
                Poll::Ready(Ok(buffer.filled().len()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl futures_io::AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let _entered = this.runtime.enter();
        Pin::new(&mut this.io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let _entered = this.runtime.enter();
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let _entered = this.runtime.enter();
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

// ===== impl Sockets =====

fn none_made() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "streams are made before the library is called",
    )
}

impl Reactor for Sockets {
    type TcpStream = Socket;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + Send + 'static>(
        &self,
        _socket: H,
    ) -> io::Result<impl futures_io::AsyncRead + futures_io::AsyncWrite + Send + Unpin + 'static>
    {
        Err::<Socket, _>(none_made())
    }

    fn sleep(&self, time: Duration) -> Self::Sleep {
        self.0.sleep(time)
    }

    fn interval(&self, time: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(time)
    }

    fn tcp_connect_addr(
        &self,
        _address: SocketAddr,
    ) -> impl Future<Output = io::Result<Socket>> + Send + 'static {
        ready(Err(none_made()))
    }
}
