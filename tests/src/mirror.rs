//! The service `Mirror`: it gives back what it gets.

use micro_runtime::{Context, Inbound, Outbound, Result};

/// The generated code.
pub mod v1 {
    micro_runtime::include_proto!("mirror.v1");
}

use v1::{MirrorHandler, Thing};

/// The handler.
#[derive(Clone, Copy, Debug)]
pub struct Mirror;

impl MirrorHandler for Mirror {
    async fn one(&self, _: Context, thing: Thing) -> Result<Thing> {
        Ok(thing)
    }

    async fn last(&self, _: Context, mut things: Inbound<Thing>) -> Result<Thing> {
        let mut last = Thing::default();
        while let Some(thing) = things.recv().await? {
            last = thing;
        }
        Ok(last)
    }

    async fn twice(&self, _: Context, thing: Thing, mut out: Outbound<Thing>) -> Result<()> {
        out.send(thing.clone()).await?;
        out.send(thing).await
    }

    async fn each(
        &self,
        _: Context,
        mut things: Inbound<Thing>,
        mut out: Outbound<Thing>,
    ) -> Result<()> {
        while let Some(thing) = things.recv().await? {
            out.send(thing).await?;
        }
        Ok(())
    }
}
