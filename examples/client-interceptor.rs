//! An interceptor on the client: every call carries a token, and is timed.
//!
//! Run it with `cargo run --example client-interceptor`.

use std::time::Instant;

use micro_runtime::client::ClientOptions;
use micro_runtime::interceptor::{self, Invocation, Next};
use micro_runtime::{Context, Error, Result, testing};

micro_runtime::include_proto!();

struct Hello;

impl HelloHandler for Hello {
    async fn ping(&self, ctx: Context, req: Request) -> Result<Response> {
        let token = ctx.metadata().get("authorization").unwrap_or("no token");
        Ok(Response {
            msg: format!("Hello {}, you came with {token}", req.name),
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (server, client) = testing::pair();
    register_hello_handler(&server, Hello)?;

    let timing = interceptor::from_fn(|mut call: Invocation, next: Next| async move {
        call.metadata_mut().insert("authorization", "Bearer abc");
        let (path, begun) = (call.path().to_owned(), Instant::now());
        let outcome = next.run(call).await;
        println!("{path} took {:?}", begun.elapsed());
        outcome
    });
    let client = client.with(ClientOptions::new().interceptor(timing))?;
    let hello = new_hello_service("hellooo", &client);
    let res = hello
        .ping(Request {
            name: "World ^_^".into(),
        })
        .await?;
    println!("{}", res.msg);
    Ok(())
}
