//! The brokers' servers, which keep what they confirmed over a crash, and clients of ours by name.

use std::path::PathBuf;
use std::time::Duration;

use micro_runtime::broker::{AnyBroker, Broker, Delivery, Kafka, Message, Nats, RabbitMq, Redis};
use micro_runtime::{Deadline, Error, ErrorKind};

use crate::servers::{Program, Ready, Server, free_ports};
use crate::small_broker::Small;

/// A server that runs.
#[derive(Debug)]
pub struct Served {
    /// Its process.
    pub server: Server,
    /// The name of the broker, for [`client`].
    pub name: String,
    /// Where clients find it.
    pub address: String,
}

// ===== impl Served =====

impl Served {
    /// Starts the server of the broker with this name: `nats`, or `nats-2.9`, which is older, `rabbitmq`,
    /// `kafka`, `redis`.
    ///
    /// # Errors
    /// There is no such broker.
    ///
    /// # Panics
    /// As [`Program::start`].
    pub async fn start(name: &str) -> Result<Served, Error> {
        let (server, address) = match name {
            "nats" => nats("nats-2.15").await,
            "nats-2.9" => nats(name).await,
            "kafka" => kafka().await,
            "rabbitmq" => rabbitmq().await,
            "redis" => redis().await,
            other => return Err(unknown(other)),
        };
        Ok(Served {
            server,
            name: name.to_owned(),
            address,
        })
    }

    /// Starts the tests' own broker, whose server is this program with the role `server`; with `forgets` it
    /// keeps nothing over a crash.
    pub async fn small(program: PathBuf, forgets: bool) -> Served {
        let [port] = free_ports();
        let address = format!("127.0.0.1:{port}");
        let careless = if forgets { "forgets" } else { "no" };
        let server = Program::at(program)
            .args(["server", "file={dir}/kept"])
            .arg(format!("address={address}"))
            .arg(format!("careless={careless}"))
            .start(Ready::Port(port))
            .await;
        Served {
            server,
            name: "small".to_owned(),
            address,
        }
    }

    /// Whether it needs some 10 s to come back.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        matches!(&*self.name, "kafka" | "rabbitmq")
    }
}

/// A client of the broker with this name.
///
/// # Errors
/// There is no such broker, or the address is none.
pub fn client(name: &str, address: &str) -> Result<AnyBroker, Error> {
    Ok(match name {
        "small" => AnyBroker::new(Small::new(address)),
        "nats" | "nats-2.9" => AnyBroker::new(Nats::try_new([address])?),
        "kafka" => AnyBroker::new(Kafka::try_new([address])?),
        "rabbitmq" => AnyBroker::new(RabbitMq::try_new([address])?),
        "redis" => AnyBroker::new(Redis::try_new([address])?),
        other => return Err(unknown(other)),
    })
}

fn unknown(name: &str) -> Error {
    Error::new(
        ErrorKind::Config,
        format_args!("expected a broker, found {name:?}"),
    )
}

async fn nats(program: &str) -> (Server, String) {
    let [port, monitor] = free_ports();
    let server = Program::find(program)
        .args(["-a", "127.0.0.1", "-p", &port.to_string()])
        .args(["-m", &monitor.to_string(), "-js", "-sd", "{dir}/data"])
        .start(Ready::http(monitor, "/healthz", "ok"))
        .await;
    (server, format!("127.0.0.1:{port}"))
}

async fn rabbitmq() -> (Server, String) {
    let [port, distribution, names] = free_ports();
    let server = Program::find("rabbitmq")
        .args([port, distribution, names].map(|port| port.to_string()))
        .arg("{dir}/data")
        // Listening is the last that it does when it starts.
        .start(Ready::Port(port))
        .await;
    (server, format!("amqp://127.0.0.1:{port}"))
}

async fn redis() -> (Server, String) {
    let [port] = free_ports();
    let server = Program::find("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--dir", "{dir}", "--save", "", "--appendonly", "yes"])
        .args(["--appendfsync", "always"])
        .start(Ready::Bytes(
            port,
            b"PING\r\nQUIT\r\n".to_vec(),
            "+PONG".to_owned(),
        ))
        .await;
    (server, format!("127.0.0.1:{port}"))
}

async fn kafka() -> (Server, String) {
    let [port, controller] = free_ports();
    let address = format!("127.0.0.1:{port}");
    let to = address.clone();
    let server = Program::find("kafka")
        .args([port, controller].map(|port| port.to_string()))
        .arg("{dir}/data")
        // It listens long before it takes events.
        .start(Ready::check(move || {
            let broker = Kafka::new([&to]);
            async move {
                let deadline = Deadline::after(Duration::from_secs(4));
                let event = Message::new("ready", "x");
                let sent = broker.publish(event, Delivery::AtLeastOnce, deadline);
                sent.await.is_ok()
            }
        }))
        .await;
    (server, address)
}
