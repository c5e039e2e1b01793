//! A NATS server, and a client made by hand.

mod raw;

use micro_runtime::registry::Nats;

use crate::servers::{Program, Ready, Server, free_ports, http_get};

pub use raw::Raw;

/// The newest program of `.ci/servers/nats.sh`.
pub const NEW: &str = "nats-2.15";

/// The oldest one.
pub const OLD: &str = "nats-2.9";

/// A server on free ports of 127.0.0.1.
#[derive(Debug)]
pub struct Hub {
    /// Its process.
    pub server: Server,
    /// The port of its clients.
    pub port: u16,
    monitor: u16,
}

// ===== impl Hub =====

impl Hub {
    /// One without JetStream.
    ///
    /// # Panics
    /// As [`Program::start`], here and below.
    pub async fn start(program: &str) -> Hub {
        Hub::with(program, &[]).await
    }

    /// One with JetStream.
    pub async fn jetstream(program: &str) -> Hub {
        Hub::with(program, &["-js", "-sd", "{dir}/data"]).await
    }

    /// One with this configuration.
    pub async fn configured(program: &str, lines: &str) -> Hub {
        let program = Program::find(program).file("server.conf", lines);
        Hub::of(program, &["-c", "{dir}/server.conf"]).await
    }

    /// One with further arguments.
    pub async fn with(program: &str, further: &[&str]) -> Hub {
        Hub::of(Program::find(program), further).await
    }

    async fn of(program: Program, further: &[&str]) -> Hub {
        let [port, monitor] = free_ports();
        let program = program
            .args(["-a", "127.0.0.1"])
            .args(["-p", &port.to_string(), "-m", &monitor.to_string()])
            .args(further.iter().copied());
        Hub {
            server: program.start(Ready::http(monitor, "/healthz", "ok")).await,
            port,
            monitor,
        }
    }

    /// `host:port` of its clients.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The registry over it.
    #[must_use]
    pub fn registry(&self) -> Nats {
        Nats::new([self.address()])
    }

    /// How many clients are connected.
    ///
    /// # Errors
    /// It does not say so.
    pub async fn clients(&self) -> Result<u64, String> {
        let (_, body) = http_get(self.monitor, "/varz")
            .await
            .map_err(|error| error.to_string())?;
        let body: serde_json::Value =
            serde_json::from_str(&body).map_err(|error| error.to_string())?;
        body["connections"]
            .as_u64()
            .ok_or(format!("no number in {body}"))
    }
}
