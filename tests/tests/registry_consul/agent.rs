//! Agents.

use micro_runtime::registry::Consul;
use micro_tests::authority::Authority;
use micro_tests::servers::{Program, Ready, Server, free_ports};

/// An agent that is a cluster of its own.
pub(crate) struct Agent {
    pub(crate) server: Server,
    port: u16,
}

/// The token that may do everything, where tokens are asked for.
pub(crate) const ROOT: &str = "3f1c0e57-1c1c-4bb1-8a53-9a8a0d4a7f01";

const QUIET: &str = "disable_update_check = true\nconnect { enabled = false }\nperformance { raft_multiplier = 1 }\n";

impl Agent {
    /// One that keeps everything in memory.
    pub(crate) async fn dev() -> Agent {
        Agent::start(&["-dev"], "").await
    }

    /// One that has its memory on disk.
    pub(crate) async fn lasting() -> Agent {
        let flags = ["-server", "-bootstrap-expect=1", "-data-dir={dir}/data"];
        Agent::start(&flags, "").await
    }

    /// One that asks for tokens. [`ROOT`] may do everything.
    pub(crate) async fn with_acl() -> Agent {
        let acl = format!(
            "acl {{\n enabled = true\n default_policy = \"deny\"\n tokens {{ initial_management = \"{ROOT}\" agent = \"{ROOT}\" }}\n}}\n"
        );
        Agent::start(&["-dev"], &acl).await
    }

    /// One that listens with TLS too, at the port it gives, and there wants a certificate of its clients.
    pub(crate) async fn secure(authority: &Authority) -> (Agent, u16) {
        let [port] = free_ports();
        let [ca, certificate, key] =
            ["ca.pem", "server.pem", "server.key"].map(|name| authority.file(name));
        let tls = format!(
            "ports {{ https = {port} }}\ntls {{\n https {{ ca_file = \"{ca}\" cert_file = \"{certificate}\" \
             key_file = \"{key}\" verify_incoming = true }}\n}}\n"
        );
        (Agent::start(&["-dev"], &tls).await, port)
    }

    async fn start(flags: &[&str], config: &str) -> Agent {
        let [port, dns, grpc, serf, rpc] = free_ports();
        let server = Program::find("consul")
            .file("consul.hcl", &format!("{QUIET}{config}"))
            .arg("agent")
            .args(flags.iter().copied())
            .args(["-node=t", "-bind=127.0.0.1", "-client=127.0.0.1"])
            .args(["-log-level=warn", "-config-file={dir}/consul.hcl"])
            .args(["-grpc-tls-port=-1", "-serf-wan-port=-1"])
            .arg(format!("-http-port={port}"))
            .arg(format!("-dns-port={dns}"))
            .arg(format!("-grpc-port={grpc}"))
            .arg(format!("-serf-lan-port={serf}"))
            .arg(format!("-server-port={rpc}"))
            // An empty string means that there is no leader yet.
            .start(Ready::http(
                port,
                "/v1/status/leader",
                &format!("127.0.0.1:{rpc}"),
            ))
            .await;
        Agent { server, port }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A client of its own, as another process has.
    pub(crate) fn consul(&self) -> Consul {
        Consul::new([self.address()])
    }
}
