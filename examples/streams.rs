//! The four kinds of rpc, wired in-process, as a test of one's own would do it: no socket, no registry.
//!
//! Run it with `cargo run --example streams`.

use micro_runtime::{Context, Error, Inbound, Outbound, Result, testing};

micro_runtime::include_proto!();

use examples::numbers::{Number, NumbersHandler, new_numbers_service, register_numbers_handler};

struct Numbers;

impl NumbersHandler for Numbers {
    async fn square(&self, _ctx: Context, req: Number) -> Result<Number> {
        Ok(number(req.value * req.value))
    }

    async fn count(
        &self,
        _ctx: Context,
        req: Number,
        mut responses: Outbound<Number>,
    ) -> Result<()> {
        for value in 1..=req.value {
            responses.send(number(value)).await?;
        }
        Ok(())
    }

    async fn sum(&self, _ctx: Context, mut requests: Inbound<Number>) -> Result<Number> {
        let mut sum = 0;
        while let Some(next) = requests.recv().await? {
            sum += next.value;
        }
        Ok(number(sum))
    }

    async fn running(
        &self,
        _ctx: Context,
        mut requests: Inbound<Number>,
        mut responses: Outbound<Number>,
    ) -> Result<()> {
        let mut sum = 0;
        while let Some(next) = requests.recv().await? {
            sum += next.value;
            responses.send(number(sum)).await?;
        }
        Ok(())
    }
}

fn number(value: i64) -> Number {
    Number { value }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (server, client) = testing::pair();
    register_numbers_handler(&server, Numbers)?;
    let numbers = new_numbers_service("numbers", &client);

    println!("7² = {}", numbers.square(number(7)).await?.value);

    let mut counted = numbers.count(number(3)).await?;
    while let Some(next) = counted.recv().await? {
        println!("counted {}", next.value);
    }

    let mut terms = numbers.sum().await?;
    for value in [1, 2, 3] {
        terms.send(number(value)).await?;
    }
    println!("sum {}", terms.finish().await?.value);

    let (mut terms, mut sums) = numbers.running().await?;
    for value in [1, 2, 3] {
        terms.send(number(value)).await?;
        if let Some(sum) = sums.recv().await? {
            println!("so far {}", sum.value);
        }
    }
    terms.finish().await?;
    Ok(())
}
