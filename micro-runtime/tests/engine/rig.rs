//! The engines, each as a way to make a pair.

use std::sync::Arc;

use micro_runtime::exchange::{BoxFuture, ConnInfo, Connection, Drainer, Io, PeerAddr, Serve};
use micro_runtime::transport::{ClientLimits, ServerLimits, http2, local};

/// Both ends of a connection.
pub(crate) struct Pair {
    pub(crate) connection: Connection,
    /// Drains the server's side; dropped, it cuts it.
    pub(crate) drainer: Drainer,
}

/// An engine.
pub(crate) trait Rig: Sync {
    fn pair_with(
        &self,
        app: Arc<dyn Serve>,
        server: ServerLimits,
        client: ClientLimits,
    ) -> BoxFuture<'_, Pair>;

    fn pair(&self, app: Arc<dyn Serve>) -> BoxFuture<'_, Pair> {
        self.pair_with(app, ServerLimits::new(), ClientLimits::new())
    }
}

pub(crate) struct Http2InMemory;

impl Rig for Http2InMemory {
    fn pair_with(
        &self,
        app: Arc<dyn Serve>,
        server: ServerLimits,
        client: ClientLimits,
    ) -> BoxFuture<'_, Pair> {
        Box::pin(async move {
            let (near, far) = tokio::io::duplex(64 * 1024);
            http2_pair(Io::new(near), Io::new(far), app, server, client).await
        })
    }
}

pub(crate) struct Http2OverTcp;

impl Rig for Http2OverTcp {
    fn pair_with(
        &self,
        app: Arc<dyn Serve>,
        server: ServerLimits,
        client: ClientLimits,
    ) -> BoxFuture<'_, Pair> {
        Box::pin(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (near, far) =
                tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
            let (near, far) = (near.unwrap(), far.unwrap().0);
            near.set_nodelay(true).unwrap();
            far.set_nodelay(true).unwrap();
            http2_pair(Io::new(near), Io::new(far), app, server, client).await
        })
    }
}

/// Through the front door: a listener with TLS that accepts, and a dial.
#[cfg(feature = "tls")]
pub(crate) struct Http2OverTls;

#[cfg(feature = "tls")]
impl Rig for Http2OverTls {
    fn pair_with(
        &self,
        app: Arc<dyn Serve>,
        server: ServerLimits,
        client: ClientLimits,
    ) -> BoxFuture<'_, Pair> {
        use micro_runtime::transport::{ClientTls, Listener, ServerTls, accept, dial_tls};

        Box::pin(async move {
            let tls = ServerTls::from_pem(
                include_str!("tls/server.pem"),
                include_str!("tls/server.key"),
            );
            let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap())
                .await
                .and_then(|listener| listener.with_tls(tls))
                .unwrap();
            let address = listener.local().to_string().parse().unwrap();
            let (drainer, drain) = Drainer::new();
            let accepting = tokio::spawn(accept(listener, Arc::new(server), app, drain));
            let tls = ClientTls::new().ca_pem(include_str!("tls/ca.pem"));
            let connection = dial_tls(&address, &client, &tls)
                .await
                .expect("the server greets");
            // No further ones come, and none are waited for.
            accepting.abort();
            Pair {
                connection,
                drainer,
            }
        })
    }
}

async fn http2_pair(
    near: Io,
    far: Io,
    app: Arc<dyn Serve>,
    server: ServerLimits,
    client: ClientLimits,
) -> Pair {
    let (drainer, drain) = Drainer::new();
    let info = ConnInfo::new(PeerAddr::Local, PeerAddr::Local);
    let theirs = info.clone();
    tokio::spawn(async move { http2::serve(far, theirs, &server, app, drain).await });
    let connection = http2::connect(near, info, &client)
        .await
        .expect("the server greets");
    Pair {
        connection,
        drainer,
    }
}

pub(crate) struct Local;

impl Rig for Local {
    fn pair_with(
        &self,
        app: Arc<dyn Serve>,
        server: ServerLimits,
        client: ClientLimits,
    ) -> BoxFuture<'_, Pair> {
        Box::pin(async move {
            let (drainer, drain) = Drainer::new();
            Pair {
                connection: local::connect_with(app, &server, &client, drain),
                drainer,
            }
        })
    }
}
