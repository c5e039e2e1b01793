//! The `h2` crate with nothing above it: each request is answered where it was read, so that the answers to
//! requests that came together leave together. No limits, no deadlines, no statuses: a floor, not a server.

use std::future::{Future, poll_fn};
use std::net::TcpListener;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use prost::Message;
use tokio::net::TcpStream;

use crate::Result;
use crate::greeting::Greeter;
use crate::proto::tonic as proto;

pub(super) async fn serve(listener: TcpListener, greeter: Greeter) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (socket, _) = listener.accept().await?;
        let greeter = greeter.clone();
        tokio::spawn(async move {
            if let Err(error) = connection(socket, greeter).await {
                eprintln!("a connection broke: {error}");
            }
        });
    }
}

type Answering = Pin<Box<dyn Future<Output = ()> + Send>>;

async fn connection(socket: TcpStream, greeter: Greeter) -> Result<()> {
    socket.set_nodelay(true)?;
    let mut h2 = h2::server::handshake(socket).await?;
    poll_fn(|cx| {
        loop {
            let mut polled = false;
            let mut fresh: Vec<Answering> = Vec::new();
            loop {
                match h2.poll_accept(cx) {
                    Poll::Ready(Some(Ok((request, respond)))) => {
                        let body = request.into_body();
                        let greeter = greeter.clone();
                        fresh.push(Box::pin(async move {
                            if let Err(error) = answer(body, respond, &greeter).await {
                                eprintln!("a call failed: {error}");
                            }
                        }));
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending => break,
                }
            }
            for mut call in fresh {
                polled = true;
                let mut cx = Context::from_waker(Waker::noop());
                if call.as_mut().poll(&mut cx).is_pending() {
                    tokio::spawn(call);
                }
            }
            // Once more, to write what was answered.
            if !polled {
                return Poll::Pending;
            }
        }
    })
    .await?;
    Ok(())
}

async fn answer(
    mut body: RecvStream,
    mut respond: SendResponse<Bytes>,
    greeter: &Greeter,
) -> Result<()> {
    let mut whole = Bytes::new();
    while let Some(bytes) = body.data().await {
        let bytes = bytes?;
        body.flow_control().release_capacity(bytes.len())?;
        if whole.is_empty() {
            whole = bytes;
        } else {
            whole = [whole, bytes].concat().into();
        }
    }
    let message = whole
        .get(5..)
        .ok_or("expected a message of five bytes or more")?;
    let request = proto::Request::decode(message)?;
    let response = proto::Response {
        msg: greeter.greet(&request.name).await,
    };

    let mut head = Response::new(());
    head.headers_mut().insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    let mut stream = respond.send_response(head, false)?;
    stream.send_data(frame(&response)?, false)?;
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(
        HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("0"),
    );
    stream.send_trailers(trailers)?;
    Ok(())
}

/// A message with gRPC's prefix: not compressed, and its length.
pub(crate) fn frame(message: &impl Message) -> Result<Bytes> {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(5 + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length)?);
    message.encode(&mut frame)?;
    Ok(frame.freeze())
}
