//! The `h2` crate as a client, with nothing above it: each call is made by its caller's task.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderValue, Method, Request as HttpRequest, Uri, Version};
use prost::Message;
use tokio::net::TcpStream;

use super::Caller;
use crate::Result;
use crate::greeting::NAME;
use crate::proto::PATH;
use crate::proto::tonic::{Request, Response};
use crate::serve::frame;

#[derive(Clone)]
pub(super) struct Bare {
    h2: SendRequest<Bytes>,
    uri: Uri,
}

pub(super) async fn connect(address: SocketAddr) -> Result<Bare> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (h2, connection) = h2::client::handshake(socket).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("the connection broke: {error}");
        }
    });
    let uri = format!("http://{address}{PATH}").parse()?;
    Ok(Bare { h2, uri })
}

impl Caller for Bare {
    async fn ping(&mut self) -> Result<String> {
        let name = NAME.to_owned();
        let mut request = HttpRequest::new(());
        *request.version_mut() = Version::HTTP_2;
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
        headers.insert(http::header::TE, HeaderValue::from_static("trailers"));

        let mut h2 = self.h2.clone().ready().await?;
        let (response, mut stream) = h2.send_request(request, false)?;
        stream.send_data(frame(&Request { name })?, true)?;
        let response = response.await?;
        if response.status() != 200 {
            return Err(format!("expected status 200, found {}", response.status()).into());
        }
        let mut body = response.into_body();
        let bytes = body
            .data()
            .await
            .ok_or("expected a message, found none")??;
        body.flow_control().release_capacity(bytes.len())?;
        while let Some(more) = body.data().await {
            if !more?.is_empty() {
                return Err("expected one frame, found several".into());
            }
        }
        let trailers = body.trailers().await?;
        let status = trailers.as_ref().and_then(|t| t.get("grpc-status"));
        if status.is_none_or(|status| status != "0") {
            return Err(format!("expected grpc-status 0, found {status:?}").into());
        }
        let message = bytes
            .get(5..)
            .ok_or("expected a message of five bytes or more")?;
        Ok(Response::decode(message)?.msg)
    }
}
