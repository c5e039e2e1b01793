//! What the registry and the broker over NATS share: where the servers are, who we are, how we connect.

mod connect;
mod login;
mod servers;

pub(crate) use connect::{Failure, connect};
pub(crate) use servers::{Login, Servers};

/// An error with its causes, which the library's own text leaves out.
pub(crate) fn shown(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let further = error.to_string();
        if !text.contains(&further) {
            text = format!("{text}: {further}");
        }
        cause = error.source();
    }
    text
}
