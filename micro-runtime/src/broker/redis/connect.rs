//! [`dial`]: one connection to one server, over our own sockets and our own TLS.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, PushInfo, RedisConnectionInfo, RedisResult};
use tokio::time::{sleep, timeout};

use super::config::Server;
use super::gather::Gather;
use super::refusal::Refusal;
use crate::exchange::Io;
use crate::transport::dial_tcp;

/// How long a connection may take until it can be used.
pub(super) const CONNECT: Duration = Duration::from_secs(3);

/// The commands that may wait to be written: as many as publishes may be under way, so that none waits for room.
const WAITING: usize = super::PUBLISHING;

/// How often a connection that is not heard of is asked whether it stands, and how long the answer may take.
const PING: Duration = Duration::from_secs(4);
const PONG: Duration = Duration::from_secs(4);

/// How often a server that was never reached may refuse us before callers are told: one that has no room says
/// so in the same way, once.
pub(super) const REFUSALS: u32 = 2;

/// Who is told what the server says by itself. The library calls it from the connection's task.
pub(super) type OnPush = Box<dyn Fn(PushInfo) + Send + Sync>;

/// A connection, and the future that moves its bytes: it must be polled, and ends with the connection.
pub(super) struct Dialled {
    pub(super) connection: MultiplexedConnection,
    pub(super) driver: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Connects to a server, makes us known, and sees whether it answers.
pub(super) async fn dial(server: &Server, on_push: Option<OnPush>) -> Result<Dialled, Refusal> {
    match timeout(CONNECT, attempt(server, on_push)).await {
        Ok(result) => result,
        Err(_) => Err(Refusal::Lost(format!(
            "{} gave no answer within {CONNECT:?}",
            server.address
        ))),
    }
}

async fn attempt(server: &Server, on_push: Option<OnPush>) -> Result<Dialled, Refusal> {
    let stream = dial_tcp(&server.host, server.port)
        .await
        .map_err(|error| Refusal::Lost(format!("cannot connect to {}: {error}", server.address)))?;
    let io = Io::new(stream);
    #[cfg(feature = "tls")]
    let io = match &server.tls {
        Some(tls) => tls.connect(io, &server.host, &[]).await.map_err(|broken| {
            let address = &server.address;
            Refusal::Lost(format!("cannot connect to {address}: {}", broken.detail))
        })?,
        None => io,
    };
    let mut info = RedisConnectionInfo::default()
        .set_db(server.database)
        .set_skip_set_lib_name();
    if let Some(user) = &server.user {
        info = info.set_username(user);
    }
    if let Some(password) = &server.password {
        info = info.set_password(password);
    }
    // Each caller has a time of its own, and `watch` finds out who is mute.
    let mut config = AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_connection_timeout(None)
        .set_pipeline_buffer_size(WAITING);
    if let Some(on_push) = on_push {
        info = info.set_protocol(ProtocolVersion::RESP3);
        config = config.set_push_sender(move |push| {
            on_push(push);
            Ok::<(), ()>(())
        });
    }
    let (connection, driver) =
        MultiplexedConnection::new_with_config(&info, Gather::new(io), config)
            .await
            .map_err(|error| Refusal::of(&error))?;
    let mut driver: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(driver);
    // What asks for credentials, and what still loads its data, says so only now.
    let mut pinged = connection.clone();
    tokio::select! {
        () = &mut driver => Err(Refusal::Lost(format!("{} has hung up", server.address))),
        answer = ping(&mut pinged) => match answer {
            Ok(()) => Ok(Dialled { connection, driver }),
            Err(error) => Err(Refusal::of(&error)),
        },
    }
}

async fn ping(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    redis::cmd("PING").query_async(connection).await
}

/// Resolves when the server has not answered a ping for a while: the connection is half open.
pub(super) async fn watch(mut connection: MultiplexedConnection) {
    loop {
        sleep(PING).await;
        if !matches!(timeout(PONG, ping(&mut connection)).await, Ok(Ok(()))) {
            return;
        }
    }
}
