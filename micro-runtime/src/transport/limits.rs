//! The limits of connections: [`ServerLimits`] and [`ClientLimits`].

use std::time::Duration;

const KIB: u32 = 1024;
const MIB: u32 = 1024 * KIB;
/// RFC 9113 §6.9.1: no window may be larger.
const LARGEST_WINDOW: u32 = (1 << 31) - 1;
/// RFC 9113 §6.5.2: the bounds of SETTINGS_MAX_FRAME_SIZE.
const FRAME_SIZES: std::ops::RangeInclusive<u32> = 16 * KIB..=(1 << 24) - 1;

/// What the two ends of an HTTP/2 connection limit alike.
#[derive(Clone, Debug)]
pub(crate) struct Http2 {
    pub(crate) max_concurrent_streams: u32,
    pub(crate) stream_window: u32,
    pub(crate) connection_window: u32,
    pub(crate) data_frame_budget: usize,
    pub(crate) max_frame_size: u32,
    pub(crate) max_header_list_size: u32,
    pub(crate) max_send_buffer_size: usize,
}

/// What a server allows each of its connections, and all of them together.
///
/// Every setter takes the value as it is, or the nearest one that the protocol permits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerLimits {
    pub(crate) http2: Http2,
    pub(crate) max_pending_accept_reset_streams: usize,
    pub(crate) max_local_error_reset_streams: usize,
    pub(crate) keep_alive_interval: Option<Duration>,
    pub(crate) keep_alive_timeout: Duration,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) turn_budget: Duration,
    pub(crate) detect_timeout: Duration,
    pub(crate) max_connections: usize,
    #[cfg(feature = "tls")]
    pub(crate) handshake_timeout: Duration,
    #[cfg(feature = "tls")]
    pub(crate) max_handshakes: usize,
}

/// What a client allows each of its connections.
///
/// Every setter takes the value as it is, or the nearest one that the protocol permits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientLimits {
    pub(crate) http2: Http2,
    pub(crate) max_concurrent_reset_streams: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) keep_alive_interval: Option<Duration>,
    pub(crate) keep_alive_timeout: Duration,
}

// ===== impl Http2 =====

impl Http2 {
    const fn new(max_concurrent_streams: u32) -> Http2 {
        Http2 {
            max_concurrent_streams,
            stream_window: 256 * KIB,
            connection_window: 8 * MIB,
            // A stream of one-byte messages whose reader stalls may fill its window, 256 KiB of 6-byte
            // frames, with nothing worse than waiting: 43,690 frames, each charged 256 bytes less its own
            // length, are 10.9 MB.
            data_frame_budget: 16 * MIB as usize,
            max_frame_size: 16 * KIB,
            max_header_list_size: 16 * KIB,
            max_send_buffer_size: 400 * KIB as usize,
        }
    }
}

macro_rules! http2_setters {
    () => {
        /// Bytes that the peer may send on one exchange before they are taken. Default: 256 KiB; a larger
        /// message costs a round trip for each further window. At most 2³¹−1.
        #[must_use]
        pub fn stream_window(mut self, bytes: u32) -> Self {
            self.http2.stream_window = bytes.min(LARGEST_WINDOW);
            self
        }

        /// Bytes that the peer may send on all exchanges of a connection before they are taken. Default:
        /// 8 MiB. At least 65,535, at most 2³¹−1.
        #[must_use]
        pub fn connection_window(mut self, bytes: u32) -> Self {
            self.http2.connection_window = bytes.clamp(65_535, LARGEST_WINDOW);
            self
        }

        /// How much overhead of tiny DATA frames a connection carries before it is closed: each that is not
        /// read yet is charged 256 bytes less its length. Default: 16 MiB, so that one stream of one-byte
        /// messages may stall for ever; a much smaller value lets one slow reader end every call of its
        /// connection.
        #[must_use]
        pub fn data_frame_budget(mut self, bytes: usize) -> Self {
            self.http2.data_frame_budget = bytes;
            self
        }

        /// The largest frame that the peer may send, in bytes. Default: 16 KiB; at least that, and below
        /// 16 MiB.
        #[must_use]
        pub fn max_frame_size(mut self, bytes: u32) -> Self {
            self.http2.max_frame_size = bytes.clamp(*FRAME_SIZES.start(), *FRAME_SIZES.end());
            self
        }

        /// The largest head or trailers that the peer may send, in bytes as RFC 9113 §6.5.2 counts them
        /// (32 more for each field). Default: 16 KiB.
        #[must_use]
        pub fn max_header_list_size(mut self, bytes: u32) -> Self {
            self.http2.max_header_list_size = bytes;
            self
        }

        /// Bytes of one exchange that may wait to be written, beyond one message. Default: 400 KiB.
        #[must_use]
        pub fn max_send_buffer_size(mut self, bytes: u32) -> Self {
            self.http2.max_send_buffer_size = bytes as usize;
            self
        }
    };
}

// ===== impl ServerLimits =====

impl ServerLimits {
    /// The defaults.
    #[must_use]
    pub fn new() -> ServerLimits {
        ServerLimits {
            http2: Http2::new(200),
            max_pending_accept_reset_streams: 20,
            max_local_error_reset_streams: 1024,
            keep_alive_interval: Some(Duration::from_secs(60)),
            keep_alive_timeout: Duration::from_secs(20),
            idle_timeout: Some(Duration::from_secs(15 * 60)),
            turn_budget: Duration::from_micros(200),
            detect_timeout: Duration::from_secs(10),
            max_connections: 10_000,
            #[cfg(feature = "tls")]
            handshake_timeout: Duration::from_secs(10),
            #[cfg(feature = "tls")]
            max_handshakes: 1000,
        }
    }

    /// Exchanges that one connection may have open at once; more are refused with REFUSED_STREAM, which is
    /// safe to try elsewhere. Default: 200.
    #[must_use]
    pub fn max_concurrent_streams(mut self, streams: u32) -> Self {
        self.http2.max_concurrent_streams = streams.max(1);
        self
    }

    /// Exchanges that a peer may open and reset before this side has looked at them; one more, and the
    /// connection is closed (CVE-2023-44487, rapid reset). Default: 20.
    #[must_use]
    pub fn max_pending_accept_reset_streams(mut self, streams: usize) -> Self {
        self.max_pending_accept_reset_streams = streams;
        self
    }

    /// Exchanges that the peer may force this side to reset, by breaking the protocol, in the life of a
    /// connection; one more, and it is closed (CVE-2025-8671). Default: 1,024.
    #[must_use]
    pub fn max_local_error_reset_streams(mut self, streams: usize) -> Self {
        self.max_local_error_reset_streams = streams;
        self
    }

    /// After how long without a byte from the peer it is asked for a sign of life (PING), and how long it
    /// may take to give one before the connection is cut. Default: 60 s and 20 s; `None` never asks.
    #[must_use]
    pub fn keep_alive(mut self, interval: impl Into<Option<Duration>>, timeout: Duration) -> Self {
        self.keep_alive_interval = interval.into();
        self.keep_alive_timeout = timeout;
        self
    }

    /// After how long without an exchange a connection is closed, with a goodbye. Default: 15 minutes;
    /// `None` never.
    #[must_use]
    pub fn idle_timeout(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = idle.into();
        self
    }

    /// How long a connection may poll handlers in its own task, in one turn, before the rest of the turn is
    /// spawned. Polled there, replies to requests that were read together leave in one write; spawned, they
    /// use every core. Default: 200 µs; zero polls one handler a turn.
    #[must_use]
    pub fn turn_budget(mut self, budget: Duration) -> Self {
        self.turn_budget = budget;
        self
    }

    /// How long a new connection may take to show which protocol it speaks. Default: 10 s.
    #[must_use]
    pub fn detect_timeout(mut self, timeout: Duration) -> Self {
        self.detect_timeout = timeout;
        self
    }

    /// Connections that may be open at once; more are closed as soon as they are accepted, so that their
    /// clients go elsewhere. Default: 10,000.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections.max(1);
        self
    }

    /// How long a new connection may take for its TLS handshake, the wait for its first byte and for one of
    /// [`max_handshakes`](ServerLimits::max_handshakes) included. Default: 10 s.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// TLS handshakes that are answered at once; further clients that have begun theirs wait, in their order.
    /// Each counts as one of [`max_connections`](ServerLimits::max_connections) too. Default: 1,000, at
    /// least 1.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn max_handshakes(mut self, handshakes: usize) -> Self {
        self.max_handshakes = handshakes.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
        self
    }

    http2_setters!();
}

impl Default for ServerLimits {
    fn default() -> ServerLimits {
        ServerLimits::new()
    }
}

// ===== impl ClientLimits =====

impl ClientLimits {
    /// The defaults.
    #[must_use]
    pub fn new() -> ClientLimits {
        ClientLimits {
            http2: Http2::new(1000),
            max_concurrent_reset_streams: 4096,
            connect_timeout: Duration::from_secs(5),
            keep_alive_interval: None,
            keep_alive_timeout: Duration::from_secs(20),
        }
    }

    /// Exchanges that are open at once on one connection, where the peer allows as many. Default: 1,000.
    #[must_use]
    pub fn max_concurrent_streams(mut self, streams: u32) -> Self {
        self.http2.max_concurrent_streams = streams.max(1);
        self
    }

    /// Exchanges given up on this side that are remembered (for a second), so that what still arrives for
    /// them is dropped in silence. Default: 4,096.
    #[must_use]
    pub fn max_concurrent_reset_streams(mut self, streams: usize) -> Self {
        self.max_concurrent_reset_streams = streams;
        self
    }

    /// After how long without a byte from the server, while calls are under way, it is asked for a sign of life
    /// (PING), and how long it may take to give one before the connection is cut and its calls fail. Default:
    /// it is never asked (and the 20 s of the system's own signs of life count); servers of gRPC close the
    /// connection of a client that asks more often than every five minutes, unless they are told otherwise.
    #[must_use]
    pub fn keep_alive(mut self, interval: impl Into<Option<Duration>>, timeout: Duration) -> Self {
        self.keep_alive_interval = interval.into();
        self.keep_alive_timeout = timeout;
        self
    }

    /// How long a connection may take to be made: dialled, and greeted by the peer. Default: 5 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    http2_setters!();
}

impl Default for ClientLimits {
    fn default() -> ClientLimits {
        ClientLimits::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_outside_the_protocol_are_moved_into_it() {
        let limits = ServerLimits::new()
            .max_concurrent_streams(0)
            .stream_window(u32::MAX)
            .connection_window(1)
            .max_frame_size(1)
            .max_connections(0);
        assert_eq!(limits.http2.max_concurrent_streams, 1);
        assert_eq!(limits.http2.stream_window, LARGEST_WINDOW);
        assert_eq!(limits.http2.connection_window, 65_535);
        assert_eq!(limits.http2.max_frame_size, 16_384);
        assert_eq!(limits.max_connections, 1);
        let limits = ClientLimits::new().max_frame_size(u32::MAX);
        assert_eq!(limits.http2.max_frame_size, 16_777_215);
    }
}
