//! tonic's client, as its documentation shows it.

use std::net::SocketAddr;

use tonic::transport::{Channel, Endpoint};

use super::Caller;
use crate::Result;
use crate::greeting::NAME;
use crate::proto::tonic::Request;
use crate::proto::tonic::hello_client::HelloClient;

pub(super) async fn connect(address: SocketAddr) -> Result<HelloClient<Channel>> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?
        .tcp_nodelay(true)
        .connect()
        .await?;
    Ok(HelloClient::new(channel))
}

impl Caller for HelloClient<Channel> {
    async fn ping(&mut self) -> Result<String> {
        let name = NAME.to_owned();
        let response = HelloClient::ping(self, Request { name }).await?;
        Ok(response.into_inner().msg)
    }
}
