//! tonic's server, as its documentation shows it, with TCP_NODELAY.

use std::net::TcpListener;

use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::Result;
use crate::greeting::Greeter;
use crate::proto::tonic as proto;

struct Hello(Greeter);

#[tonic::async_trait]
impl proto::hello_server::Hello for Hello {
    async fn ping(
        &self,
        request: Request<proto::Request>,
    ) -> Result<Response<proto::Response>, Status> {
        let msg = self.0.greet(&request.into_inner().name).await;
        Ok(Response::new(proto::Response { msg }))
    }
}

pub(super) async fn serve(listener: TcpListener, greeter: Greeter) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    // A listener that is handed in gets no TCP_NODELAY by itself.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    tonic::transport::Server::builder()
        .add_service(proto::hello_server::HelloServer::new(Hello(greeter)))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}
