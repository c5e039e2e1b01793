use crate::Result;
use crate::greeting::Greeter;
use crate::proto::tonic::{Request, Response};
use micro_runtime::exchange::{ConnInfo, Drain, Io, PeerAddr};
use micro_runtime::method::{Method, MethodKind};
use micro_runtime::server::{Routes, ServerOptions};
use micro_runtime::transport::{ServerLimits, http2};
use micro_runtime::{Context, Server};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

static PING: Method<Request, Response> = Method::new::<micro_runtime::codec::Prost>(
    MethodKind::Unary,
    "Hello",
    "Ping",
    "/Hello/Ping",
    "Hello.Ping",
);
const LONG: Duration = Duration::from_secs(1);

pub(super) async fn serve(listener: TcpListener, greeter: Greeter, patient: bool) -> Result<()> {
    let mut options = ServerOptions::new();
    let mut limits = ServerLimits::new();
    if patient {
        options = options.inline_poll_limit(LONG);
        limits = limits.turn_budget(LONG);
    }
    let server = Server::new("bench", options);
    server.add(Routes::new("Hello").unary(
        &PING,
        &Arc::new(greeter),
        |h: Arc<Greeter>, _c: Context, req: Request| async move {
            Ok(Response {
                msg: h.greet(&req.name),
            })
        },
    ))?;
    let (_drainer, drain) = micro_runtime::exchange::Drainer::new();
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (s, a) = listener.accept().await?;
        s.set_nodelay(true)?;
        let info = ConnInfo::new(PeerAddr::Tcp(a), PeerAddr::Tcp(s.local_addr()?));
        let (server, limits, drain) = (server.clone(), limits.clone(), drain.clone());
        tokio::spawn(async move {
            http2::serve(Io::new(s), info, &limits, Arc::new(server), drain).await
        });
    }
}
