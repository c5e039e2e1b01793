//! The broker `kafka` against a real server.
//!
//! | file | what |
//! |---|---|
//! | `groups` | queues, broadcast, keys, members that come and go |
//! | `again` | what failed, and what is no message |
//! | `names` | members that have names over restarts, and sessions |
//! | `topics` | topics that are deleted and grow |
//! | `outage` | servers that are killed, away, and none of Kafka's |
//! | `slow` | a slow network |
//! | `login` | credentials, topics that must not be made, TLS |
//!
//! A server takes some 10 s to start, so that what does not kill it shares one.

mod again;
mod groups;
mod login;
mod names;
mod outage;
mod server;
mod slow;
mod topics;

use micro_tests::broker_contract::{self, Abilities};
use micro_tests::{broker_handlers, events};
use server::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract() {
    let cluster = Cluster::start(&[]).await;
    let able = Abilities {
        spreads: false,
        tells_dots_from_underscores: false,
        // In base64 this is just below the server's 1 MiB.
        largest: 700_000,
        too_large: Some(2 << 20),
        ..Abilities::default()
    };
    broker_contract::run("kafka", || cluster.broker(), able).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_server_that_makes_no_topics() {
    let further = ["auto.create.topics.enable=false".to_owned()];
    let (cluster, proxy) = Cluster::behind_a_proxy(&further).await;
    broker_handlers::run(|| cluster.broker().partitions(2)).await;
    names::a_name_is_taken_over(&cluster).await;
    names::a_member_that_comes_back_has_its_partitions_at_once(&cluster).await;
    names::a_session_that_the_server_does_not_allow_is_told_of(&cluster).await;
    topics::one_that_is_deleted_is_made_again(&cluster).await;
    slow::many_at_a_time(&cluster, &proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_server_that_lives() {
    let cluster = Cluster::start(&[]).await;
    again::what_failed_comes_again_and_holds_back_the_offset(&cluster).await;
    groups::a_queue_shares_and_a_broadcast_does_not(&cluster).await;
    groups::keys_keep_their_order(&cluster).await;
    groups::nothing_is_lost_when_members_come_and_go(&cluster).await;
    groups::a_queue_begins_where_its_level_says(&cluster).await;
    groups::a_slow_handler_is_no_dead_member(&cluster).await;
    again::what_is_no_message_is_handed_out_with_its_bytes(&cluster).await;
    let address = format!("127.0.0.1:{}", cluster.port);
    let cases = events::go("kafka", &address, || cluster.broker().range(true)).await;
    assert_eq!(cases, 18);
}
