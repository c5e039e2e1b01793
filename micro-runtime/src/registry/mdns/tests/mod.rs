//! Behaviour: the bytes of go-micro, the engine on a simulated network, and real sockets on loopback.

mod abuse;
mod bytes;
mod conflict;
mod interfaces;
mod lookup;
mod loopback;
mod sim;
mod watch;
