//! From a publisher to a handler, and what becomes of what it cannot handle.

use std::time::Duration;

use micro_runtime::broker::{AnyBroker, Broker, Delivery, Publisher, subscribe};
use micro_runtime::{Code, Context, Status};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::kit::{LONG, at_least_once, next};
use crate::server::Rabbit;

pub(crate) async fn poison_goes_to_the_dead_letter_and_holds_up_nobody(rabbit: &Rabbit) {
    let dead = at_least_once("h.dead").queue("h-dead");
    let mut dead = rabbit.broker().subscribe(&dead).await.unwrap();
    let broker = AnyBroker::new(rabbit.broker());
    let topic = at_least_once("h.orders")
        .queue("h-orders")
        .dead_letter("h.dead")
        .max_attempts(3)
        .retry_delay(Duration::from_millis(500));
    let (sender, mut handled) = mpsc::unbounded_channel();
    let handler = move |context: Context, order: String| {
        let sender = sender.clone();
        async move {
            let tenant = context.metadata().get("x-tenant").map(str::to_owned);
            sender.send((order.clone(), tenant)).unwrap();
            match order.as_str() {
                "poison" => Err(Status::new(Code::Internal, "as ever")),
                "panic" => panic!("as ever"),
                _ => Ok(()),
            }
        }
    };
    let subscription = subscribe(&broker, topic, handler).unwrap();
    subscription.ready().await.unwrap();
    let orders = Publisher::<String>::new(&broker, "h.orders")
        .delivery(Delivery::AtLeastOnce)
        .unwrap();
    for order in ["poison", "panic", "one", "two"] {
        let order = order.to_owned();
        let published = orders.publish(&order).metadata("x-tenant", "acme");
        published.timeout(LONG).await.unwrap();
    }
    let mut found = Vec::new();
    for _ in 0..8 {
        let (order, tenant) = timeout(LONG, handled.recv()).await.unwrap().unwrap();
        assert_eq!(tenant.as_deref(), Some("acme"));
        found.push(order);
    }
    // One at a time, and in order: those that wait for their retry are not in the way.
    assert_eq!(found[..4], ["poison", "panic", "one", "two"]);
    found.sort();
    assert_eq!(
        found,
        [
            "one", "panic", "panic", "panic", "poison", "poison", "poison", "two"
        ]
    );
    for _ in 0..2 {
        let event = next(&mut dead).await;
        let header = |name| event.headers().get(name);
        assert_eq!(header("micro-dead-topic"), Some("h.orders"));
        assert_eq!(header("micro-dead-attempts"), Some("3"));
        assert_eq!(header("x-tenant"), Some("acme"));
        event.ack().await.unwrap();
    }
    subscription.stop(LONG).await;
}
