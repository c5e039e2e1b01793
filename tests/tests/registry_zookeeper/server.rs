//! A ZooKeeper server.

use std::time::Duration;

use micro_runtime::registry::ZooKeeper;
use micro_tests::servers::{Program, Ready, Server, free_ports};

/// How long a session lives without a sign of life, in most of these tests.
pub(crate) const SESSION: Duration = Duration::from_secs(2);

pub(crate) struct Keeper {
    pub(crate) server: Server,
    pub(crate) port: u16,
}

impl Keeper {
    pub(crate) async fn start() -> Keeper {
        Keeper::with(&[]).await
    }

    /// One with these further lines in its configuration.
    pub(crate) async fn with(lines: &[&str]) -> Keeper {
        let [port] = free_ports();
        let program = Program::find("zookeeper")
            .args([&port.to_string(), "{dir}/zk", "500"])
            .args(lines.iter().copied());
        let ready = Ready::Bytes(port, b"srvr".to_vec(), "Mode: ".to_owned());
        Keeper {
            server: program.start(ready).await,
            port,
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn registry(&self) -> ZooKeeper {
        ZooKeeper::new([self.address()]).session_timeout(SESSION)
    }
}
