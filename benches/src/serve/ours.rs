//! Our server: a `Service` as users build one, on a registry that only this process sees.

use std::net::TcpListener;
use std::time::Duration;

use micro_runtime::registry::Memory;
use micro_runtime::server::ServerOptions;
use micro_runtime::transport::ServerLimits;
use micro_runtime::{Context, Service};

use crate::Result;
use crate::greeting::Greeter;
use crate::proto::ours::{HelloHandler, Request, Response, register_hello_handler};

struct Hello(Greeter);

impl HelloHandler for Hello {
    async fn ping(&self, _ctx: Context, req: Request) -> micro_runtime::Result<Response> {
        let msg = self.0.greet(&req.name).await;
        Ok(Response { msg })
    }
}

/// Longer than anything takes under a profiler.
const LONG: Duration = Duration::from_secs(1);

pub(super) async fn serve(listener: TcpListener, greeter: Greeter, patient: bool) -> Result<()> {
    let mut service = Service::new("bench")
        .listener(listener)
        .registry(Memory::new());
    if patient {
        service = service
            .server_options(ServerOptions::new().inline_poll_limit(LONG))
            .server_limits(ServerLimits::new().turn_budget(LONG));
    }
    let service = service.build()?;
    register_hello_handler(service.server(), Hello(greeter))?;
    let _running = service.start().await?;
    std::future::pending().await
}
