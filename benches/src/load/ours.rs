use std::net::SocketAddr;
use super::Caller;
use crate::Result;
use crate::greeting::NAME;
use crate::proto::ours::{HelloService, Request, new_hello_service};
use micro_runtime::Client;
use micro_runtime::transport::{ClientLimits, dial};
#[derive(Clone)]
pub(super) struct Ours(HelloService);
pub(super) async fn connect(address: SocketAddr) -> Result<Ours> {
    let c = dial(&address.to_string().parse()?, &ClientLimits::new()).await?;
    let mut o = Ours(new_hello_service("bench", &Client::over(c)));
    o.ping().await?;
    Ok(o)
}
impl Caller for Ours { async fn ping(&mut self) -> Result<String> { Ok(self.0.ping(Request { name: NAME.to_owned() }).await?.msg) } }
