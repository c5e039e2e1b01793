//! Ports that nobody uses.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Mutex;

/// Below the range that the system takes the ports of outgoing connections from (32768 and up on Linux), so
/// that a port stays free while its server is down.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

/// Where the search goes on, so that no port is given away twice.
static NEXT: Mutex<Option<u16>> = Mutex::new(None);

/// Ports of 127.0.0.1 that nobody listens on, by TCP or UDP, for servers that take them from the command line.
///
/// # Panics
/// There are none.
#[must_use]
pub fn free_ports<const N: usize>() -> [u16; N] {
    std::array::from_fn(|_| free_port())
}

fn free_port() -> u16 {
    let mut next = NEXT
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    // Suites that run side by side begin at places of their own.
    let mut port = next.unwrap_or_else(|| {
        let places = u32::from(RANGE.end - RANGE.start);
        let place = std::process::id().wrapping_mul(2_654_435_761) % places;
        RANGE.start + u16::try_from(place).unwrap_or_default()
    });
    for _ in RANGE {
        let candidate = port;
        port = if port + 1 < RANGE.end {
            port + 1
        } else {
            RANGE.start
        };
        let address = (Ipv4Addr::LOCALHOST, candidate);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            *next = Some(port);
            return candidate;
        }
    }
    panic!("no port of {RANGE:?} is free")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let ports = free_ports::<20>();
        let mut sorted = ports;
        sorted.sort_unstable();
        assert!(
            sorted.windows(2).all(|pair| pair[0] != pair[1]),
            "{ports:?}"
        );
        assert!(ports.iter().all(|port| RANGE.contains(port)));
    }
}
