//! A Redis server.

use micro_runtime::broker::Redis;
use micro_tests::servers::{Program, Ready, Server, free_ports};

use crate::raw::Raw;

pub(crate) struct Store {
    pub(crate) server: Server,
    pub(crate) port: u16,
}

impl Store {
    /// One that has everything on disk before it confirms it.
    pub(crate) async fn start() -> Store {
        Store::with(|program| program).await
    }

    pub(crate) async fn with(further: impl FnOnce(Program) -> Program) -> Store {
        let [port] = free_ports();
        let program = further(program(port));
        Store {
            server: program.start(ready(port)).await,
            port,
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn broker(&self) -> Redis {
        Redis::new([self.address()])
    }

    pub(crate) async fn raw(&self) -> Raw {
        Raw::connect(&self.address()).await
    }
}

pub(crate) fn program(port: u16) -> Program {
    Program::find("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--dir", "{dir}", "--save", "", "--appendonly", "yes"])
        .args(["--appendfsync", "always"])
}

pub(crate) fn ready(port: u16) -> Ready {
    // It asks for credentials only then when it is ready.
    Ready::check(move || async move {
        let answer = micro_tests::servers::exchange(port, b"PING\r\nQUIT\r\n").await;
        answer.is_ok_and(|answer| answer.starts_with(b"+PONG") || answer.starts_with(b"-NOAUTH"))
    })
}
