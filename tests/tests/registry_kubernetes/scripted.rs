//! The contract of every registry, and the command line, over the scripted API server.

use micro_runtime::registry::Kubernetes;
use micro_tests::contract::{self, Cli};

use super::{PODS, Pods, able};

#[path = "../../../micro-runtime/src/registry/kubernetes/tests/server.rs"]
#[allow(dead_code, reason = "the tests beside it use the rest")]
mod server;

use server::Server;

async fn server() -> Server {
    let server = Server::start().await;
    for number in 0..PODS {
        server.pod(&format!("pod{number}"));
    }
    server
}

#[tokio::test]
async fn it_behaves_as_a_registry() {
    let (server, pods) = (server().await, Pods::new());
    let make = || Kubernetes::new([server.url()]).pod(pods.next());
    contract::run("kubernetes, scripted", make, able()).await;
}

#[tokio::test]
async fn the_command_line_sees_it() {
    let server = server().await;
    let cli = Cli {
        name: "kubernetes",
        address: &server.url(),
        nobody: Some("http://127.0.0.1:1"),
        beside: Some(&[]),
    };
    cli.run(Kubernetes::new([server.url()]).pod("pod0")).await;
}
