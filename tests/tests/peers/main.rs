//! The suite with real programs: go-micro v2.9.1, go-micro v5.30.0 and grpc-go, each as server and as client.
//!
//! | file | holds |
//! |---|---|
//! | `go_calls_us.rs` | their clients against our service |
//! | `we_call_go.rs` | our client against their services |
//! | `discovery.rs` | list, get and watch over mDNS, both ways |
//! | `tls.rs` | the same calls over TLS, both ways, and each reason to refuse |
//! | `report.rs` | counting cases |
//!
//! `MICRO_PEERS` names the folder with the programs, which `.ci/peers.sh` builds. It multicasts on the
//! loopback interface only, and belongs into a network namespace of its own: `.ci/run peers` does both.

mod discovery;
mod go_calls_us;
mod report;
mod tls;
mod we_call_go;

use std::process::ExitCode;

use micro_runtime::registry::Mdns;
use micro_runtime::{Error, Service};
use micro_tests::go::Program;
use micro_tests::peer::{self, Peer};

use report::Report;

/// A service of ours, served and registered.
async fn serve(name: &str) -> Result<micro_runtime::service::Running, Error> {
    let service = Service::new(name)
        .address("127.0.0.1:0")
        .registry(Mdns::new().loopback_only())
        .build()?;
    peer::v1::register_peer_handler(service.server(), Peer::default())?;
    service.start().await
}

/// A client of ours, which finds services over mDNS.
fn client() -> Result<Service, Error> {
    Service::new("peer.client")
        .registry(Mdns::new().loopback_only())
        .build()
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut report = Report::default();
    if let Err(error) = run(&mut report).await {
        report.case("the suite", Err(error));
    }
    report.finish()
}

async fn run(report: &mut Report) -> Result<(), String> {
    let go_micro = [Program::find("gomicro2")?, Program::find("gomicro5")?];
    let grpc_go = Program::find("grpcgo")?;

    let running = serve("peers.ours")
        .await
        .map_err(|error| format!("{error:?}"))?;
    for program in &go_micro {
        go_calls_us::go_micro(report, program, "peers.ours").await;
    }
    go_calls_us::grpc_go(report, &grpc_go, &running.address()).await;
    running.stop().await.map_err(|error| format!("{error:?}"))?;

    for program in &go_micro {
        we_call_go::go_micro(report, program).await?;
    }
    we_call_go::grpc_go(report, &grpc_go).await?;

    for program in &go_micro {
        discovery::run(report, program).await?;
    }
    tls::run(report, &go_micro, &grpc_go).await
}
