//! The registry `etcd` against real servers: Debian's 3.4 and a built 3.6.
//!
//! | file | shows |
//! |---|---|
//! | `main.rs` | the contract, go-micro and the command line on the same server |
//! | `kit.rs` | starting members, `etcdctl`, looking at what is registered |
//! | `lost.rs` | leases and keys that are lost, servers that are killed, hang and come back empty |
//! | `gap.rs` | what a watch missed: a cut connection, compaction, another store |
//! | `cluster.rs` | users, several members |
//! | `tls.rs` | certificates both ways |

mod cluster;
mod gap;
mod kit;
mod lost;
mod tls;

use micro_runtime::registry::Etcd;
use micro_tests::contract::{self, Abilities};

use kit::{Member, VERSIONS};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    for version in VERSIONS {
        let etcd = Member::start(version).await;
        let address = etcd.address();
        contract::run(version, || Etcd::new([&address]), Abilities::default()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn go_micro_sees_us_and_we_see_it() {
    let etcd = Member::start("etcd-3.6").await;
    let address = etcd.address();
    contract::go("etcd", &address, || Etcd::new([&address])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_lists_gets_and_calls() {
    let etcd = Member::start("etcd-3.4").await;
    let address = etcd.address();
    contract::cli("etcd", &address, || Etcd::new([&address]), &[]).await;
}
