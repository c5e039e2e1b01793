use greeter::{GreeterHandler, Reply, Request, register_greeter_handler};
use micro_runtime::{Context, Result, Server};

mod greeter {
    include!("greeter.rs");
}

struct Greeter;

impl GreeterHandler for Greeter {
    async fn hello(&self, _: Context, req: Request) -> Result<Reply> {
        Ok(Reply { text: req.name })
    }
}

fn main() {
    let _ = |server: &Server| register_greeter_handler(server, Greeter);
}
