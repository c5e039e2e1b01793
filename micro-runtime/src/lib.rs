//! The runtime of micro: discovery, balancing, RPC server and client, events.
//!
//! | feature | default | adds | pulls in |
//! |---|---|---|---|
//! | `mdns` | yes | the embedded registry, multicast DNS | `flate2` |
//! | `flags` | yes | `ServiceBuilder::init`: flags and logs | `tracing-subscriber`, `strsim` |
//! | `serde` | no | `json::serde`: messages in serde's structs and formats | |
//! | `http` | yes | the embedded broker, events from program to program | `hyper` |
//! | `rabbitmq`, `redis`, `kafka` | no | the broker of that name | `lapin`; `redis`; `rdkafka`, which compiles C |
//! | `consul`, `etcd`, `zookeeper`, `nats`, `dns` | no | the registry of that name, and with `nats` the broker | `hyper`; nothing; nothing; `async-nats` (Rust 1.89); `hickory-resolver` |
//! | `kubernetes` | no | the registry of that name, and `tls` | `hyper` |
//! | `tls` | no | TLS for servers, clients, registries and brokers; compiles C (`ring`) | `tokio-rustls`, `rustls-native-certs`, `rustls-webpki` |
//! | `full` | no | everything | |

mod backoff;
pub mod broker;
pub mod client;
pub mod codec;
mod context;
mod cost;
mod deadline;
mod error;
mod events;
pub mod exchange;
pub mod interceptor;
pub mod json;
mod lock;
mod metadata;
pub mod method;
#[cfg(feature = "nats")]
mod nats;
mod protocol;
pub mod registry;
mod seldom;
pub mod selector;
pub mod server;
pub mod service;
mod status;
mod stream;
pub mod testing;
pub mod transport;

pub use client::{Call, Client};
pub use context::Context;
pub use deadline::Deadline;
pub use error::{Error, ErrorKind};
pub use metadata::Metadata;
pub use server::Server;
pub use service::Service;
pub use status::{Code, OrStatus, Result, Status};
pub use stream::{Inbound, Outbound};

pub use bytes;
pub use prost;
pub use prost_types;

/// What generated code needs beside the public interface; nothing here is meant for people.
#[doc(hidden)]
pub mod __private {
    /// Names the oldest runtime that code of this generator compiles with: a compiler that cannot find it
    /// tells which version of `micro-runtime` is needed.
    pub const REQUIRES_MICRO_RUNTIME_0_1: () = ();
}

/// Includes what `protoc_gen_micro::compile_protos` generated in `build.rs`.
///
/// `include_proto!()` includes everything: the code of files without a package here, and each package as
/// nested modules (`a.b.v1` as `a::b::v1`). `include_proto!("a.b.v1")` includes the code of one package here.
#[macro_export]
macro_rules! include_proto {
    () => {
        ::core::include!(::core::concat!(::core::env!("OUT_DIR"), "/_micro.rs"));
    };
    ($package:literal) => {
        ::core::include!(::core::concat!(
            ::core::env!("OUT_DIR"),
            "/",
            $package,
            ".rs"
        ));
    };
}
