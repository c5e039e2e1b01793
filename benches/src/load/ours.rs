use super::Caller;
use crate::Result;
use std::net::SocketAddr;
#[derive(Clone)]
pub(super) struct Ours;
pub(super) async fn connect(_: SocketAddr) -> Result<Ours> {
    Err("later".into())
}
impl Caller for Ours {
    async fn ping(&mut self) -> Result<String> {
        Err("later".into())
    }
}
