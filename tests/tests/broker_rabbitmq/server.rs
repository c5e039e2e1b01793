//! A RabbitMQ server.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use micro_runtime::broker::RabbitMq;
use micro_tests::servers::{Program, Ready, Server, free_ports};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::kit::LONG;

/// What a client of AMQP 0-9-1 says first.
const HELLO: &[u8] = b"AMQP\0\0\x09\x01";

pub(crate) struct Rabbit {
    pub(crate) server: Server,
    pub(crate) port: u16,
    arguments: Vec<String>,
}

impl Rabbit {
    pub(crate) async fn start() -> Rabbit {
        Rabbit::with(&[]).await
    }

    /// With further lines of its configuration.
    pub(crate) async fn with(lines: &[String]) -> Rabbit {
        let [port, distribution, names] = free_ports();
        let program = Program::find("rabbitmq");
        let mut arguments: Vec<String> = [port, distribution, names].map(|p| p.to_string()).into();
        arguments.push(program.folder().join("data").to_string_lossy().into_owned());
        let program = program.args(arguments.clone()).args(lines.iter().cloned());
        Rabbit {
            server: program.start(Ready::check(move || greets(port))).await,
            port,
            arguments,
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("amqp://127.0.0.1:{}", self.port)
    }

    /// A client of its own.
    pub(crate) fn broker(&self) -> RabbitMq {
        RabbitMq::new([self.address()])
    }

    /// Waits until the server knows these quorum queues for good. RabbitMQ 3.10 writes down their names half a
    /// second after it has confirmed what is in them: one that is killed before has them without a leader for
    /// ever, whoever declared them.
    pub(crate) async fn knows(&self, queues: &[&str]) {
        let node = format!("mq{}@localhost", self.port);
        let names = self.server.folder().join("data/mnesia");
        let names = names
            .join(&node)
            .join("quorum")
            .join(&node)
            .join("names.dets");
        let written = async {
            loop {
                let bytes = std::fs::read(&names).unwrap_or_default();
                let text = String::from_utf8_lossy(&bytes);
                if queues.iter().all(|queue| text.contains(queue)) {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let written = timeout(LONG, written).await;
        assert!(written.is_ok(), "{queues:?} are not in {}", names.display());
    }

    /// What `rabbitmqctl` says.
    pub(crate) async fn ctl(&self, arguments: &[&str]) -> String {
        let servers = std::env::var_os("MICRO_SERVERS").unwrap();
        let output = Command::new(Path::new(&servers).join("rabbitmqctl"))
            .args(&self.arguments)
            .args(["--quiet"])
            .args(arguments)
            .output()
            .await
            .unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Whether RabbitMQ answers on this port.
async fn greets(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
        return false;
    };
    if stream.write_all(HELLO).await.is_err() {
        return false;
    }
    let mut answer = vec![0; 512];
    let read = stream.read(&mut answer).await.unwrap_or(0);
    String::from_utf8_lossy(&answer[..read]).contains("RabbitMQ")
}
