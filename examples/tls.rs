//! A service that speaks TLS and asks its callers for a certificate, and a client that shows one: who calls
//! reaches the handler.
//!
//! Two commands make an authority, and a certificate of it that serves both here:
//!
//! ```text
//! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
//!     -subj /CN=authority -keyout ca.key -out ca.pem
//! openssl req -x509 -CA ca.pem -CAkey ca.key -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
//!     -subj /CN=hello -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
//!     -addext basicConstraints=CA:FALSE -keyout hello.key -out hello.pem
//! ```
//!
//! Run it beside the files with `cargo run --example tls --features tls`. The flags `--tls_cert_file` and its
//! like do the same without code. `openssl` is 3.0 or later.

use micro_runtime::registry::Mdns;
use micro_runtime::transport::{ClientTls, ServerTls};
use micro_runtime::{Context, Error, Result, Service, Status};

micro_runtime::include_proto!();

struct Hello;

impl HelloHandler for Hello {
    async fn ping(&self, ctx: Context, req: Request) -> Result<Response> {
        let Some(caller) = ctx.peer_identity() else {
            return Err(Status::unauthenticated("a certificate is required"));
        };
        let caller = caller.common_name().unwrap_or("somebody");
        Ok(Response {
            msg: format!("Hello {}, says the server to {caller}", req.name),
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let service = Service::new("hellooo")
        .address("127.0.0.1:0")
        .registry(Mdns::new().loopback_only())
        .tls(ServerTls::from_files("hello.pem", "hello.key").client_ca_file("ca.pem"))
        .init()?;
    register_hello_handler(service.server(), Hello)?;
    let running = service.start().await?;

    let tls = ClientTls::new()
        .ca_file("ca.pem")
        .identity_files("hello.pem", "hello.key");
    let service = Service::new("hello.client")
        .registry(Mdns::new().loopback_only())
        .client_tls(tls)
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
