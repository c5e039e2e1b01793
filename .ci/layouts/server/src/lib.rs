//! A server alone.

use messages::shop::money::v1::Money;
use micro_runtime::{Context, Inbound, Outbound, Result};

/// The package `shop.v1`.
pub mod pb {
    micro_runtime::include_proto!("shop.v1");
}

use pb::{Counted, Order, OrdersHandler};

/// A shop where everything costs the same.
#[derive(Clone, Copy, Debug)]
pub struct Shop;

impl OrdersHandler for Shop {
    async fn price(&self, _ctx: Context, order: Order) -> Result<Money> {
        let amount: i64 = order.lines.iter().map(|line| i64::from(line.amount)).sum();
        Ok(Money {
            currency: "EUR".into(),
            units: amount * 5,
        })
    }

    async fn count(&self, _ctx: Context, mut requests: Inbound<Order>) -> Result<Counted> {
        let mut orders = 0;
        while requests.recv().await?.is_some() {
            orders += 1;
        }
        Ok(Counted { orders })
    }

    async fn twice(&self, _ctx: Context, order: Order, mut responses: Outbound<Order>) -> Result<()> {
        responses.send(order.clone()).await?;
        responses.send(order).await
    }

    async fn echo(
        &self,
        _ctx: Context,
        mut requests: Inbound<Order>,
        mut responses: Outbound<Order>,
    ) -> Result<()> {
        while let Some(order) = requests.recv().await? {
            responses.send(order).await?;
        }
        Ok(())
    }

    async fn say_hello(&self, _ctx: Context, order: Order) -> Result<Order> {
        Ok(Order {
            id: format!("Hello {}", order.id),
            ..order
        })
    }

    async fn forget(&self, _ctx: Context, (): ()) -> Result<()> {
        Ok(())
    }
}
