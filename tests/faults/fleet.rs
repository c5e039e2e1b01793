//! Nodes in processes of their own.

use std::collections::HashMap;
use std::time::Duration;

use micro_tests::servers::{Program, Ready, Server, free_ports};

/// What every node of a fleet is started with.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) name: String,
    pub(crate) ttl: Duration,
    pub(crate) drain: Duration,
    /// Where it registers; nowhere that others see if there are none.
    pub(crate) registry: Vec<String>,
}

pub(crate) struct Node {
    pub(crate) port: u16,
    pub(crate) server: Server,
}

pub(crate) struct Fleet {
    pub(crate) nodes: Vec<Node>,
}

// ===== impl Setup =====

impl Setup {
    /// Nodes that register nowhere.
    pub(crate) fn alone(name: &str) -> Setup {
        Setup {
            name: name.to_owned(),
            ttl: Duration::from_secs(60),
            drain: Duration::ZERO,
            registry: vec!["--registry=memory".to_owned()],
        }
    }
}

// ===== impl Node =====

impl Node {
    /// A node that serves.
    pub(crate) async fn start(setup: &Setup) -> Node {
        let [port] = free_ports();
        let server = Program::at(env!("CARGO_BIN_EXE_micro-tests-fleet"))
            .args([
                setup.name.clone(),
                format!("127.0.0.1:{port}"),
                "{dir}/executed".to_owned(),
                setup.ttl.as_millis().to_string(),
                setup.drain.as_millis().to_string(),
            ])
            .args(setup.registry.clone())
            .start(Ready::Port(port))
            .await;
        Node { port, server }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The texts that it noted, over all its lives.
    pub(crate) fn executed(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.server.folder().join("executed"));
        text.unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

// ===== impl Fleet =====

impl Fleet {
    pub(crate) async fn start(setup: &Setup, count: usize) -> Fleet {
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(Node::start(setup).await);
        }
        Fleet { nodes }
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(Node::address).collect()
    }

    /// What was executed more than once by all of them together.
    pub(crate) fn twice(&self) -> Vec<String> {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for text in self.nodes.iter().flat_map(Node::executed) {
            *counts.entry(text).or_default() += 1;
        }
        let twice = counts.into_iter().filter(|(_, count)| *count > 1);
        twice.map(|(text, _)| text).collect()
    }
}
