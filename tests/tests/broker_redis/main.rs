//! The broker `redis` against a real server.
//!
//! | file | what |
//! |---|---|
//! | `channels` | at most once |
//! | `streams` | at least once: queues, broadcast, what is stored, what is cut off |
//! | `again` | handed out again: refused, dropped, left by the dead |
//! | `go` | go-micro v2.9.1 |
//! | `outage` | servers that are killed, away and mute |
//! | `login` | credentials, permissions, TLS |

mod again;
mod channels;
mod go;
mod login;
mod outage;
mod raw;
mod server;
mod streams;

use micro_tests::broker_contract::{self, Abilities};
use micro_tests::broker_handlers;

use server::Store;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_and_handlers() {
    let store = Store::start().await;
    broker_handlers::run(|| store.broker()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract() {
    let store = Store::start().await;
    let able = Abilities {
        queues_at_most_once: false,
        ..Abilities::default()
    };
    broker_contract::run("redis", || store.broker(), able).await;
}
