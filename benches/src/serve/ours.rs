use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use micro_runtime::server::ServerOptions;
use micro_runtime::exchange::Drainer;
use micro_runtime::transport::{ServerLimits, Listener, accept};
use micro_runtime::{Context, Server};
use crate::Result;
use crate::greeting::Greeter;
use crate::proto::ours::{HelloHandler, Request, Response, register_hello_handler};

struct Hello(Greeter);
impl HelloHandler for Hello {
    async fn ping(&self, _ctx: Context, req: Request) -> micro_runtime::Result<Response> {
        Ok(Response { msg: self.0.greet(&req.name) })
    }
}
const LONG: Duration = Duration::from_secs(1);

pub(super) async fn serve(listener: TcpListener, greeter: Greeter, patient: bool) -> Result<()> {
    let mut options = ServerOptions::new();
    let mut limits = ServerLimits::new();
    if patient { options = options.inline_poll_limit(LONG); limits = limits.turn_budget(LONG); }
    let server = Server::new("bench", options);
    register_hello_handler(&server, Hello(greeter))?;
    let (_drainer, drain) = Drainer::new();
    let listener = Listener::from_std(listener)?;
    accept(listener, Arc::new(limits), Arc::new(server), drain).await;
    Ok(())
}
