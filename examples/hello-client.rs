//! A client of the Hello service: `cargo run --example hello-client`, while `hello-service` runs.

use micro_runtime::{Error, Result, Service};

micro_runtime::include_proto!();

#[tokio::main]
async fn main() -> Result<(), Error> {
    let service = Service::new("hello.client").init()?;
    let hello = new_hello_service("hellooo", service.client());
    let res = hello
        .ping(Request {
            name: "World ^_^".into(),
        })
        .await?;
    println!("{}", res.msg);
    Ok(())
}
