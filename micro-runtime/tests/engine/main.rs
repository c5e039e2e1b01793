//! The engine suite: what every engine must do, said of `Connection` and `Serve` alone, and run on each of
//! them.
//!
//! - [`kit`]: a handler made of a closure, and the waits of an exchange as futures
//! - [`rig`]: the engines, each as a way to make a pair
//! - [`basics`]: heads, frames, ends, half-close
//! - [`resets`]: each code, both ways; panics
//! - [`cancel`]: a drop at every await
//! - [`flow`]: windows, slow readers, readers that never read
//! - [`limits`]: one stream at most, load, changes
//! - [`drain`]: goodbyes under load, cuts
//! - [`storm`]: what honest peers do that looks like an attack

mod basics;
mod cancel;
mod drain;
mod flow;
mod kit;
mod limits;
mod resets;
mod rig;
mod storm;

/// Runs checks on every engine, each as a test of its own.
#[macro_export]
macro_rules! on_every_engine {
    ($($check:ident)*) => {
        mod http2_in_memory {
            $(#[tokio::test] async fn $check() {
                $crate::kit::soon(super::$check(&$crate::rig::Http2InMemory)).await;
            })*
        }
        mod http2_over_tcp {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $check() {
                $crate::kit::soon(super::$check(&$crate::rig::Http2OverTcp)).await;
            })*
        }
        #[cfg(feature = "tls")]
        mod http2_over_tls {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $check() {
                $crate::kit::soon(super::$check(&$crate::rig::Http2OverTls)).await;
            })*
        }
        mod local {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $check() {
                $crate::kit::soon(super::$check(&$crate::rig::Local)).await;
            })*
        }
    };
}
