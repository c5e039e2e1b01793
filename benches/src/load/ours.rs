//! Our client: a `Service`'s, with its defaults (a deadline of 5 s for each call among them).

use std::net::SocketAddr;

use micro_runtime::Service;
use micro_runtime::registry::Fixed;

use super::Caller;
use crate::Result;
use crate::greeting::NAME;
use crate::proto::ours::{HelloService, Request, new_hello_service};

#[derive(Clone)]
pub(super) struct Ours {
    hello: HelloService,
    _service: Service,
}

pub(super) async fn connect(address: SocketAddr) -> Result<Ours> {
    let service = Service::new("bench.client")
        .registry(Fixed::new([address.to_string()]))
        // The others have one connection too.
        .max_connections_per_node(1)
        .build()?;
    let mut ours = Ours {
        hello: new_hello_service("bench", service.client()),
        _service: service,
    };
    ours.ping().await?;
    Ok(ours)
}

impl Caller for Ours {
    async fn ping(&mut self) -> Result<String> {
        let name = NAME.to_owned();
        Ok(self.hello.ping(Request { name }).await?.msg)
    }
}
