//! End to end on loopback: whole services and clients, in one process but where one has to die.

mod calls;
mod cancel;
mod discovery;
mod hops;
mod stop;
mod support;
