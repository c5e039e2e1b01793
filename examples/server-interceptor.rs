//! An interceptor on the server: no call without a token reaches a handler.
//!
//! Run it with `cargo run --example server-interceptor`.

use micro_runtime::interceptor::{self, Invocation, Next};
use micro_runtime::server::ServerOptions;
use micro_runtime::{Code, Context, Error, Result, Status, testing};

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
    let guard = interceptor::from_fn(|call: Invocation, next: Next| async move {
        match call.metadata().get("authorization") {
            Some("Bearer abc") => next.run(call).await,
            _ => Err(Status::unauthenticated("expected the token abc")),
        }
    });
    let (server, client) = testing::pair_with(ServerOptions::new().interceptor(guard));
    register_hello_handler(&server, Hello)?;
    let hello = new_hello_service("hellooo", &client);

    let request = || Request {
        name: "World ^_^".into(),
    };
    let refused = hello.ping(request()).await;
    assert_eq!(
        refused.map_err(|status| status.code()),
        Err(Code::Unauthenticated)
    );
    println!("without a token: refused");

    let res = hello
        .ping(request())
        .metadata("authorization", "Bearer abc")
        .await?;
    println!("with a token: {}", res.msg);
    Ok(())
}
