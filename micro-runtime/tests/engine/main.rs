//! The engine suite: what every engine must do, said of `Connection` and `Serve` alone, and run on each of
//! them.
//!
//! - [`kit`]: a handler made of a closure, and the waits of an exchange as futures
//! - [`rig`]: the engines, each as a way to make a pair
//! - [`basics`]: heads, frames, ends, half-close

mod basics;
mod kit;
mod rig;

/// Runs a check on every engine, each as a test of its own.
#[macro_export]
macro_rules! on_every_engine {
    ($($(#[$attribute:meta])* $check:ident)*) => {
        mod http2_in_memory {
            $($(#[$attribute])* #[tokio::test] async fn $check() {
                super::$check(&$crate::rig::Http2InMemory).await;
            })*
        }
    };
}
