//! A handler made of a closure, and the waits of an exchange as futures.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use micro_runtime::exchange::{
    Broken, Connection, Exchange, FieldValue, Frame, Head, Incoming, Line, OutFields, OutHead,
    Outgoing, Serve, Slot, State, Verb, Work,
};
use tokio::sync::watch;

/// A handler made of a closure.
pub(crate) struct App<F> {
    handler: F,
    inline: bool,
}

impl<F, R> Serve for App<F>
where
    F: Fn(Exchange) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    fn call(&self, exchange: Exchange) -> Work {
        Work {
            run: Box::pin((self.handler)(exchange)),
            inline: self.inline,
        }
    }
}

/// A handler that is first polled in its connection's task.
pub(crate) fn app<F, R>(handler: F) -> Arc<dyn Serve>
where
    F: Fn(Exchange) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    Arc::new(App {
        handler,
        inline: true,
    })
}

/// A handler that is spawned.
pub(crate) fn spawned<F, R>(handler: F) -> Arc<dyn Serve>
where
    F: Fn(Exchange) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    Arc::new(App {
        handler,
        inline: false,
    })
}

pub(crate) fn request(path: &'static str) -> OutHead {
    OutHead {
        line: Line::Request {
            verb: Verb::Post,
            path: Bytes::from_static(path.as_bytes()),
            authority: Bytes::from_static(b"test"),
        },
        fields: OutFields::constant(&[
            (Slot::ContentType, "application/grpc"),
            (Slot::Te, "trailers"),
        ]),
    }
}

pub(crate) fn ok() -> OutHead {
    OutHead {
        line: Line::Status(200),
        fields: OutFields::constant(&[(Slot::ContentType, "application/grpc")]),
    }
}

pub(crate) fn status(code: u64) -> OutFields {
    let mut fields = OutFields::default();
    fields.slot(Slot::GrpcStatus, FieldValue::Number(code));
    fields
}

pub(crate) async fn head(incoming: &mut Incoming) -> Result<Head, Broken> {
    poll_fn(|cx| incoming.poll_head(cx)).await
}

/// The next frame; what is taken is released.
pub(crate) async fn frame(incoming: &mut Incoming) -> Option<Result<Frame, Broken>> {
    let frame = poll_fn(|cx| incoming.poll_frame(cx)).await;
    if let Some(Ok(Frame::Data(bytes))) = &frame {
        incoming.release(bytes.len());
    }
    frame
}

pub(crate) async fn ready(outgoing: &mut Outgoing) -> Result<usize, Broken> {
    poll_fn(|cx| outgoing.poll_ready(cx)).await
}

pub(crate) async fn closed(outgoing: &mut Outgoing) -> Broken {
    poll_fn(|cx| outgoing.poll_closed(cx)).await
}

/// All data to the end, and the trailers if there are any.
pub(crate) async fn rest(incoming: &mut Incoming) -> Result<(Vec<u8>, Option<Head>), Broken> {
    let mut data = Vec::new();
    loop {
        match frame(incoming).await {
            None => return Ok((data, None)),
            Some(Ok(Frame::Data(bytes))) => data.extend_from_slice(&bytes),
            Some(Ok(Frame::Trailers(trailers))) => return Ok((data, Some(trailers))),
            Some(Err(broken)) => return Err(broken),
        }
    }
}

/// Answers with what was asked, when all of it is there.
pub(crate) async fn echo(mut exchange: Exchange) {
    let Ok((data, _)) = rest(&mut exchange.body).await else {
        return;
    };
    let mut reply = exchange.reply;
    if reply.head(ok(), false).is_ok() && reply.data(data.into(), false).is_ok() {
        let _ = reply.trailers(status(0));
    }
}

/// A whole reply: HTTP status, data, `grpc-status`.
pub(crate) async fn whole(
    incoming: &mut Incoming,
) -> Result<(u16, Vec<u8>, Option<String>), Broken> {
    let head = head(incoming).await?;
    let (data, trailers) = rest(incoming).await?;
    let code = trailers.and_then(|head| head.get_str(Slot::GrpcStatus).map(str::to_owned));
    Ok((head.status(), data, code))
}

/// Fails, instead of hanging, what should have happened long ago.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(300), future)
        .await
        .expect("it should have happened within 5 min")
}

/// Opens an exchange with a whole request.
pub(crate) fn ask(connection: &Connection, data: impl Into<Bytes>) -> Incoming {
    let (_, reply) = connection
        .try_open(request("/a.B/C"), Some(data.into()), true)
        .expect("it is open");
    reply
}

/// Opens an exchange whose request goes on.
pub(crate) fn open(connection: &Connection) -> (Outgoing, Incoming) {
    connection
        .try_open(request("/a.B/C"), None, false)
        .expect("it is open")
}

/// Checks that a connection still works.
pub(crate) async fn alive(connection: &Connection) {
    let reply = whole(&mut ask(connection, "alive?")).await;
    assert_eq!(reply.map(|(status, ..)| status), Ok(200));
}

/// Waits until nothing is in flight.
pub(crate) async fn quiet(connection: &Connection) {
    loop {
        let changed = connection.changed();
        if connection.load().in_flight == 0 {
            return;
        }
        changed.await;
    }
}

/// Waits for a state.
pub(crate) async fn becomes(connection: &Connection, state: State) {
    loop {
        let changed = connection.changed();
        if connection.load().state == state {
            return;
        }
        changed.await;
    }
}

/// Counts what lives.
#[derive(Clone)]
pub(crate) struct Census(watch::Sender<usize>);

pub(crate) struct Member(watch::Sender<usize>);

impl Census {
    pub(crate) fn new() -> Census {
        Census(watch::Sender::new(0))
    }

    pub(crate) fn member(&self) -> Member {
        self.0.send_modify(|count| *count += 1);
        Member(self.0.clone())
    }

    /// Waits until so many live.
    pub(crate) async fn is(&self, wanted: usize) {
        let mut count = self.0.subscribe();
        count.wait_for(|count| *count == wanted).await.unwrap();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
