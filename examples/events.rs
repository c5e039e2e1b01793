//! Two services and their events: a shop publishes orders, and billing handles each at least once. An order that
//! cannot be billed is tried again, and goes to a dead letter topic in the end.
//!
//! Run it with `cargo run --example events`. The broker is in this process, so that nothing has to be installed; with
//! a feature such as `nats` it is another, `broker::Nats::new(["127.0.0.1:4222"])`, and all else stays the same.

use micro_runtime::broker::{Delivery, Memory, Topic};
use micro_runtime::{Context, Error, Service, Status, registry};

micro_runtime::include_proto!();

use examples::orders::OrderPlaced;

/// A service that knows others by the registry and the broker of this process.
fn service(name: &str, registry: &registry::Memory, broker: &Memory) -> Result<Service, Error> {
    Service::new(name)
        .address("127.0.0.1:0")
        .registry(registry.clone())
        .broker(broker.clone())
        .init()
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (registry, broker) = (registry::Memory::new(), Memory::new());

    let billing = service("billing", &registry, &broker)?;
    let placed = Topic::new("orders.placed")
        .queue("billing")
        .delivery(Delivery::AtLeastOnce)
        .concurrency(16)
        .max_attempts(3)
        .dead_letter("orders.dead");
    let subscription = billing.subscribe(placed, async |ctx: Context, order: OrderPlaced| {
        if order.cents < 0 {
            return Err(Status::invalid_argument("a negative price"));
        }
        let from = ctx.metadata().get("micro-from-service").unwrap_or_default();
        println!(
            "billing: {} cents for order {} of {from}",
            order.cents, order.id
        );
        Ok(())
    })?;
    let dead = Topic::new("orders.dead")
        .queue("support")
        .delivery(Delivery::AtLeastOnce);
    let support = billing.subscribe(dead, async |ctx: Context, order: OrderPlaced| {
        let reason = ctx.metadata().get("micro-dead-reason").unwrap_or_default();
        println!("support: order {} was given up: {reason}", order.id);
        Ok(())
    })?;
    let billing = billing.start().await?;

    let shop = service("shop", &registry, &broker)?;
    let orders = shop
        .publisher::<OrderPlaced>("orders.placed")
        .delivery(Delivery::AtLeastOnce)?;
    for (id, cents) in [("1", 499), ("2", 1999), ("3", -5)] {
        let id = id.to_owned();
        // Resolves when the broker keeps it: from then on, billing gets it whatever happens.
        orders.publish(&OrderPlaced { id, cents }).await?;
    }

    support.reached(|stats| stats.handled == 1).await;
    billing.stop().await?;
    let stats = subscription.stats();
    println!(
        "{} handled, {} retried, {} dead letter",
        stats.handled, stats.retried, stats.dead_lettered
    );
    Ok(())
}
