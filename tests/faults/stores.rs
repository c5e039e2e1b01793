//! The registries' servers, which keep what they know over a crash.

use micro_tests::servers::{Program, Ready, Server, free_ports};

/// The registries that a fleet shares through a server.
pub(crate) const ALL: [&str; 4] = ["consul", "etcd", "nats", "zookeeper"];

/// A server that runs, and the flags that lead to it.
pub(crate) struct Store {
    pub(crate) server: Server,
    pub(crate) flags: Vec<String>,
}

impl Store {
    pub(crate) async fn start(name: &str) -> Store {
        let (server, port) = match name {
            "consul" => consul().await,
            "etcd" => etcd().await,
            "nats" => nats().await,
            _ => zookeeper().await,
        };
        Store {
            server,
            flags: vec![
                format!("--registry={name}"),
                format!("--registry_address=127.0.0.1:{port}"),
            ],
        }
    }
}

async fn consul() -> (Server, u16) {
    let [http, dns, grpc, serf, server] = free_ports();
    let program = Program::find("consul")
        .file(
            "c.hcl",
            "disable_update_check = true\nconnect { enabled = false }\nperformance { raft_multiplier = 1 }\n\
             leave_on_terminate = false\n",
        )
        .args("agent -server -bootstrap-expect 1 -node t -bind 127.0.0.1 -client 127.0.0.1".split(' '))
        .args("-log-level warn -grpc-tls-port -1 -serf-wan-port -1".split(' '))
        .args(["-data-dir", "{dir}/data", "-config-file", "{dir}/c.hcl"]);
    let ports = [
        ("-http-port", http),
        ("-dns-port", dns),
        ("-grpc-port", grpc),
        ("-serf-lan-port", serf),
        ("-server-port", server),
    ];
    let program = ports.into_iter().fold(program, |program, (flag, port)| {
        program.args([flag.to_owned(), port.to_string()])
    });
    // Without a leader it answers with an empty string.
    let ready = Ready::http(http, "/v1/status/leader", "127.0.0.1");
    (program.start(ready).await, http)
}

async fn etcd() -> (Server, u16) {
    let [port, peers] = free_ports();
    let (client, peer) = (
        format!("http://127.0.0.1:{port}"),
        format!("http://127.0.0.1:{peers}"),
    );
    let server = Program::find("etcd-3.6")
        .args("--name t --data-dir {dir}/data --logger zap --log-level warn".split(' '))
        .args([
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
        ])
        .args([
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ])
        .args(["--initial-cluster".to_owned(), format!("t={peer}")])
        .start(Ready::http(port, "/health", "true"))
        .await;
    (server, port)
}

async fn nats() -> (Server, u16) {
    let [port, monitor] = free_ports();
    let server = Program::find("nats-2.15")
        .args([
            "-a",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-m",
            &monitor.to_string(),
        ])
        .start(Ready::http(monitor, "/healthz", "ok"))
        .await;
    (server, port)
}

async fn zookeeper() -> (Server, u16) {
    let [port] = free_ports();
    let server = Program::find("zookeeper")
        .args([&port.to_string(), "{dir}/zk"])
        .start(Ready::Bytes(port, b"srvr".to_vec(), "Mode: ".to_owned()))
        .await;
    (server, port)
}
