//! The broker `rabbitmq` against a real server.
//!
//! | file | cases |
//! |---|---|
//! | `delivery.rs` | what is published arrives, whoever published it |
//! | `settling.rs` | what becomes of an event that was handed out |
//! | `handlers.rs` | from a publisher to a handler |
//! | `declared.rs` | what is there and differs, and whom the server does not let in |
//! | `go.rs` | go-micro v2.9.1 and v5.30.0 |
//! | `harm.rs` | queues and exchanges that others delete, rights that are missing, a slow network |
//! | `outage.rs` | a server that dies, is away, takes nothing, says nothing |
//! | `secure.rs` | TLS |

mod declared;
mod delivery;
mod go;
mod handlers;
mod harm;
mod kit;
mod outage;
mod secure;
mod server;
mod settling;

use std::time::Duration;

use micro_runtime::broker::{Delivery, QueueKind, RabbitMq};
use micro_tests::broker_contract::{self, Abilities};
use tokio::net::TcpListener;

use server::Rabbit;

const LEVELS: [Delivery; 2] = [Delivery::AtMostOnce, Delivery::AtLeastOnce];

fn able() -> Abilities {
    Abilities {
        too_large: Some((8 << 20) + 1),
        patience: Duration::from_secs(60),
        ..Abilities::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract() {
    let rabbit = Rabbit::with(&["max_message_size = 8388608".to_owned()]).await;
    broker_contract::run("rabbitmq", || rabbit.broker(), able()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_with_classic_queues() {
    let rabbit = Rabbit::with(&["max_message_size = 8388608".to_owned()]).await;
    let broker = || {
        rabbit
            .broker()
            .exchange("events")
            .durable_exchange()
            .queue_kind(QueueKind::Classic)
    };
    let able = Abilities {
        counts: false,
        ..able()
    };
    broker_contract::run("rabbitmq, classic queues", broker, able).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_of_one_that_is_not_there() {
    let nobody = || RabbitMq::new(["amqp://127.0.0.1:1"]);
    broker_contract::unreachable("rabbitmq, nobody there", nobody, &LEVELS).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mute = || RabbitMq::new([&address]);
    broker_contract::unreachable("rabbitmq, mute", mute, &LEVELS).await;
}

/// The cases that leave the server as it is share one, which costs three seconds of CPU.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_for_many_cases() {
    let rabbit = &Rabbit::with(&["max_message_size = 1048576".to_owned()]).await;
    macro_rules! cases {
        ($($case:path),* $(,)?) => {
            $(
                let begun = std::time::Instant::now();
                $case(rabbit).await;
                println!("{}: {:?}", stringify!($case), begun.elapsed());
            )*
        };
    }
    cases! {
        delivery::headers_and_bodies_arrive_as_they_were,
        delivery::a_queue_shares_and_a_broadcast_does_not,
        delivery::queues_of_one_name_on_several_topics_are_apart,
        delivery::both_exchanges_lead_to_both_levels,
        delivery::events_of_strangers_are_taken_as_they_are,
        delivery::an_event_that_nobody_would_get_is_an_error,
        delivery::of_many_at_once_each_hears_of_itself,
        delivery::a_publish_that_is_given_up_harms_nobody,
        delivery::what_is_too_large_is_refused_alone,
        settling::attempts_count_and_retries_take_their_time,
        settling::a_classic_queue_does_not_count,
        settling::retries_side_by_side_count_once_each,
        settling::one_that_is_stopped_leaves_the_rest_to_others,
        settling::subscribing_that_is_given_up_leaves_no_reader,
        settling::others_come_while_one_waits_for_its_retry,
        settling::no_more_than_asked_for_are_handed_out,
        settling::what_a_subscriber_held_goes_to_another,
        settling::a_slow_handler_pushes_back,
        handlers::poison_goes_to_the_dead_letter_and_holds_up_nobody,
        harm::queues_that_are_deleted_are_made_again,
        harm::an_exchange_that_is_deleted_is_made_again,
        harm::topics_that_may_not_be_written,
        harm::a_connection_that_hangs_is_left,
        harm::a_slow_network,
        declared::exchanges_that_differ_are_told_of,
        declared::queues_that_differ_are_told_of,
        declared::whom_the_server_refuses_is_told_so,
    }
}
