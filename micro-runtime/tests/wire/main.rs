//! What goes over the wire, byte by byte: scripted peers against a server and a client of ours.
//!
//! - [`raw`]: a peer that speaks frames of HTTP/2, made and read by hand
//! - [`accept`]: the first bytes of a connection, listening and dialling
//! - [`server`]: malformed frames and heads, floods, limits
//! - [`keep`]: keep-alive, idleness, draining, with a paused clock
//! - [`client`]: our client against servers that misbehave
//! - [`turns`]: how many writes the turns of a connection make, and where handlers run

#[path = "../engine/kit.rs"]
#[allow(
    dead_code,
    reason = "shared with the engine suite, which uses all of it"
)]
mod kit;

mod accept;
mod client;
mod keep;
mod raw;
mod server;
mod turns;
