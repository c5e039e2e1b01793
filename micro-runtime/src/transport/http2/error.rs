//! From the engine's errors to [`Broken`].

use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::exchange::{Broken, Why, reset};

/// What an error of `h2` says of an exchange.
pub(super) fn broken(error: &h2::Error) -> Broken {
    let code = error.reason().map(u32::from);
    let why = if error.is_io() {
        Why::Closed
    } else if error.is_remote() {
        match code {
            // Given only to streams above the last one that the peer will look at, and to those that were
            // never sent: `Broken::new` takes both for unprocessed.
            Some(code) if error.is_go_away() => Why::GoAway(code),
            Some(code) => Why::Reset(code),
            None => Why::Protocol,
        }
    } else if error.is_library() {
        match code {
            // `h2` closes a connection so when the peer passes one of the limits that it keeps.
            Some(reset::ENHANCE_YOUR_CALM) => Why::Limit("of what a connection carries"),
            // And so when the connection ended beside it.
            Some(reset::NO_ERROR) => Why::Closed,
            _ => Why::Protocol,
        }
    } else {
        // By our own hand: a reset, or an abrupt end.
        match code {
            Some(_) if error.is_go_away() => Why::Closed,
            Some(code) => Why::Reset(code),
            None => Why::Reset(reset::STREAM_CLOSED),
        }
    };
    Broken::new(why).with_detail(error)
}

/// Why a stream takes nothing more: the peer's reason if there is one.
pub(super) fn refused(stream: &mut h2::SendStream<Bytes>) -> Broken {
    match stream.poll_reset(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(reason)) => Broken::new(Why::Reset(reason.into())),
        Poll::Ready(Err(error)) => broken(&error),
        Poll::Pending => {
            Broken::new(Why::Reset(reset::STREAM_CLOSED)).with_detail("this side has ended")
        }
    }
}
