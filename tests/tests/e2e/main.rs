//! End to end on loopback: whole services and clients, in one process but where one has to die.

mod bad_calls;
mod bad_input;
mod calls;
mod cancel;
mod discovery;
mod faults;
mod hops;
mod json;
mod stop;
mod support;
mod wire;
