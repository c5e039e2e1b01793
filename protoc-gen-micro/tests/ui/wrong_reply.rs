use greeter::{GreeterHandler, Reply, Request, register_greeter_handler};
use micro_runtime::{Context, Outbound, Result, Server};

mod greeter {
    include!("greeter.rs");
}

struct Greeter;

impl GreeterHandler for Greeter {
    async fn hello(&self, _: Context, req: Request) -> Result<Request> {
        Ok(req)
    }

    async fn watch(&self, _: Context, _: Request, mut replies: Outbound<Reply>) -> Result<()> {
        replies.send(Reply::default()).await
    }
}

fn main() {
    let _ = |server: &Server| register_greeter_handler(server, Greeter);
}
