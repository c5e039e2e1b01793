//! The code of `hello.proto`, by each generator.

/// By `protoc-gen-micro`.
#[allow(unreachable_pub)]
pub(crate) mod ours {
    micro_runtime::include_proto!();
}

/// By `tonic-prost-build`.
#[allow(unreachable_pub, missing_debug_implementations)]
pub(crate) mod tonic {
    include!(concat!(env!("OUT_DIR"), "/tonic/_.rs"));
}

/// The path of the one method.
pub(crate) const PATH: &str = "/Hello/Ping";
