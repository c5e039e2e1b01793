//! A NATS server.

use micro_runtime::registry::Nats;
use micro_tests::servers::{Program, Ready, Server, free_ports, http_get};

/// The programs of `.ci/servers/nats.sh`.
pub(crate) const NEW: &str = "nats-2.15";
pub(crate) const OLD: &str = "nats-2.9";

pub(crate) struct Hub {
    pub(crate) server: Server,
    pub(crate) port: u16,
    monitor: u16,
}

impl Hub {
    pub(crate) async fn start(program: &str) -> Hub {
        Hub::with(program, &[]).await
    }

    pub(crate) async fn with(program: &str, further: &[&str]) -> Hub {
        let [port, monitor] = free_ports();
        let program = Program::find(program)
            .args(["-a", "127.0.0.1"])
            .args(["-p", &port.to_string(), "-m", &monitor.to_string()])
            .args(further.iter().copied());
        Hub {
            server: program.start(Ready::http(monitor, "/healthz", "ok")).await,
            port,
            monitor,
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn registry(&self) -> Nats {
        Nats::new([self.address()])
    }

    /// How many clients are connected.
    pub(crate) async fn clients(&self) -> Result<u64, String> {
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
