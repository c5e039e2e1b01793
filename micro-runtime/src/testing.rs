//! For tests of one's own: a server and a client without a socket, and streams without a call.
//!
//! Events are tested with [`broker::Memory`](crate::broker::Memory): see [`broker`](crate::broker#tests).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::client::Client;
use crate::lock::lock;
use crate::metadata::Metadata;
use crate::server::{Server, ServerOptions};
use crate::status::{Result, Status};
use crate::stream::{Inbound, Outbound, Source, Target};
use crate::transport::local;

/// A server and a client of it, wired in-process: calls go through the same router, interceptors and codec as
/// over a network, but no socket and no registry. Whatever name a service is called by, this server answers.
///
/// ```
/// use micro_runtime::testing;
///
/// let (server, client) = testing::pair();
/// // register_hello_handler(&server, Hello)?;
/// // let hello = new_hello_service("hellooo", &client);
/// # let _ = (server, client);
/// ```
///
/// It works outside of a runtime too, where handlers are only added; calls need one.
#[must_use]
pub fn pair() -> (Server, Client) {
    pair_with(ServerOptions::new())
}

/// The same with limits and interceptors of the server.
#[must_use]
pub fn pair_with(options: ServerOptions) -> (Server, Client) {
    let server = Server::new("local", options);
    let client = Client::over(local::connect(server.app()));
    (server, client)
}

/// A stream without a call, for a handler alone: what goes into the [`Outbound`] comes out of the [`Inbound`].
/// Up to `capacity` messages (at least one) wait in between; sending waits while it is full. Dropping or
/// finishing the [`Outbound`] ends the stream; dropping the [`Inbound`] fails what is sent with CANCELLED.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> micro_runtime::Result<()> {
/// use micro_runtime::testing;
///
/// let (mut outbound, mut inbound) = testing::channel(4);
/// outbound.send("a").await?;
/// outbound.finish().await?;
/// assert_eq!(inbound.recv().await?, Some("a"));
/// assert_eq!(inbound.recv().await?, None);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn channel<T: Send + 'static>(capacity: usize) -> (Outbound<T>, Inbound<T>) {
    let shared = Arc::new(Mutex::new(Channel {
        queue: VecDeque::new(),
        capacity: capacity.max(1),
        sender: End::Open(None),
        receiver: End::Open(None),
    }));
    (
        Outbound::new(Sender(Arc::clone(&shared))),
        Inbound::new(Receiver(shared)),
    )
}

struct Channel<T> {
    queue: VecDeque<T>,
    capacity: usize,
    sender: End,
    receiver: End,
}

/// One end of a channel: who waits there, or that it is gone.
enum End {
    Open(Option<Waker>),
    Gone,
}

impl End {
    fn wake(&mut self) {
        if let End::Open(waker) = self
            && let Some(waker) = waker.take()
        {
            waker.wake();
        }
    }

    fn wait(&mut self, cx: &Context<'_>) {
        if let End::Open(waker) = self {
            *waker = Some(cx.waker().clone());
        }
    }
}

struct Sender<T>(Arc<Mutex<Channel<T>>>);
struct Receiver<T>(Arc<Mutex<Channel<T>>>);

fn gone() -> Status {
    Status::cancelled("the receiving end of the stream was dropped")
}

impl<T: Send> Target<T, ()> for Sender<T> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut channel = lock(&self.0);
        if let End::Gone = channel.receiver {
            return Poll::Ready(Err(gone()));
        }
        if channel.queue.len() < channel.capacity {
            return Poll::Ready(Ok(()));
        }
        channel.sender.wait(cx);
        Poll::Pending
    }

    fn send(&mut self, message: T) -> Result<()> {
        let mut channel = lock(&self.0);
        if let End::Gone = channel.receiver {
            return Err(gone());
        }
        channel.queue.push_back(message);
        channel.receiver.wake();
        Ok(())
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut channel = lock(&self.0);
        channel.sender = End::Gone;
        channel.receiver.wake();
    }
}

impl<T: Send> Source<T> for Receiver<T> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let mut channel = lock(&self.0);
        if let Some(message) = channel.queue.pop_front() {
            channel.sender.wake();
            return Poll::Ready(Some(Ok(message)));
        }
        if let End::Gone = channel.sender {
            return Poll::Ready(None);
        }
        channel.receiver.wait(cx);
        Poll::Pending
    }

    fn poll_headers(&mut self, _: &mut Context<'_>) -> Poll<Result<&Metadata>> {
        static NONE: Metadata = Metadata::new();
        Poll::Ready(Ok(&NONE))
    }

    fn trailers(&self) -> Option<&Metadata> {
        None
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut channel = lock(&self.0);
        channel.receiver = End::Gone;
        channel.queue.clear();
        channel.sender.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Code;

    #[tokio::test]
    async fn a_full_channel_makes_the_sender_wait() {
        let (mut outbound, mut inbound) = channel(1);
        outbound.send(1).await.unwrap();
        let sending = tokio::spawn(async move {
            outbound.send(2).await.unwrap();
            outbound.send(3).await.unwrap();
        });
        tokio::task::yield_now().await;
        assert!(!sending.is_finished());
        for value in 1..=3 {
            assert_eq!(inbound.recv().await.unwrap(), Some(value));
        }
        assert_eq!(inbound.recv().await.unwrap(), None);
        sending.await.unwrap();
    }

    #[tokio::test]
    async fn a_dropped_receiver_is_noticed() {
        let (mut outbound, inbound) = channel(1);
        outbound.send(1).await.unwrap();
        drop(inbound);
        assert_eq!(outbound.send(2).await.unwrap_err().code(), Code::Cancelled);
    }
}
