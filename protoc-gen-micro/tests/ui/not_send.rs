use std::rc::Rc;

use greeter::{GreeterHandler, Reply, Request, register_greeter_handler};
use micro_runtime::{Context, Outbound, Result, Server};

mod greeter {
    include!("greeter.rs");
}

struct Greeter;

impl GreeterHandler for Greeter {
    async fn hello(&self, _: Context, req: Request) -> Result<Reply> {
        let name = Rc::new(req.name);
        pause().await;
        Ok(Reply { text: name.to_string() })
    }

    async fn watch(&self, _: Context, _: Request, mut replies: Outbound<Reply>) -> Result<()> {
        replies.send(Reply::default()).await
    }
}

async fn pause() {}

fn main() {
    let _ = |server: &Server| register_greeter_handler(server, Greeter);
}
