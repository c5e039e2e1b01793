//! The Hello service and its client in one program: two `Service`s that share nothing but the network, and
//! find each other by multicast DNS.
//!
//! Run it with `cargo run --example hello`. In two programs: `hello-service.rs` and `hello-client.rs`.

use micro_runtime::registry::Mdns;
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
    // Loopback is enough for one machine, and there even without a network.
    let service = Service::new("hellooo")
        .address("127.0.0.1:0")
        .registry(Mdns::new().loopback_only())
        .init()?;
    register_hello_handler(service.server(), Hello)?;
    let running = service.start().await?;

    let service = Service::new("hello.client")
        .registry(Mdns::new().loopback_only())
        .build()?;
    let hello = new_hello_service("hellooo", service.client());
    let res = hello
        .ping(Request {
            name: "World ^_^".into(),
        })
        .await?;
    println!("{}", res.msg);

    running.stop().await
}
