//! The Hello service. Run it with `cargo run --example hello-service`, and in a second terminal
//! `cargo run --example hello-client`. It stops at Ctrl-C.

use micro_runtime::{Context, Error, Result, Service};

micro_runtime::include_proto!();

struct Hello;

impl HelloHandler for Hello {
    async fn ping(&self, _ctx: Context, req: Request) -> Result<Response> {
        Ok(Response {
            msg: format!("Hello {}", req.name),
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let service = Service::new("hellooo").init()?;
    register_hello_handler(service.server(), Hello)?;
    service.run().await
}
