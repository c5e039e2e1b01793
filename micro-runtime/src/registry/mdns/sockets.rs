//! The real sockets: for each of IPv4 and IPv6 one on port 5353, in the group on every interface, and one on
//! a port of our own for queries.
//!
//! Queries do not leave from 5353: other processes share that port, and a unicast answer to it would reach
//! any one of them. Each packet to the group is sent once on every interface, chosen by `IP_MULTICAST_IF`
//! (the scope of the address for IPv6), so that neither a route nor a flag of the interface is needed.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::task::{Context, Poll};

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;
use tracing::{debug, warn};

use super::engine::{Packet, Port};
use super::interfaces::{Interface, Selection};
use super::task::Datagrams;
use crate::error::Error;

/// mDNS's port and groups (RFC 6762 §3).
const MDNS_PORT: u16 = 5353;
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// The hop limit of what we send (RFC 6762 §11).
const HOPS: u32 = 255;

/// The receive buffer asked for: a list of two hundred services comes in two hundred packets at once, each
/// of which the kernel counts at twice its size and more. The system may give less.
const RECEIVE_BUFFER: usize = 1 << 20;

/// The datagrams that wait for a socket to become writable; further ones are dropped, as the network might
/// drop them.
const MAX_QUEUE: usize = 4096;

/// The errors in a row after which a socket is opened anew at the next scan.
const MAX_ERRORS: u32 = 100;

/// The sockets of one registry.
#[derive(Debug)]
pub(super) struct Sockets {
    selection: Selection,
    interfaces: Vec<Interface>,
    ends: [End; 4],
    queue: VecDeque<Datagram>,
    queries: u64,
    send_error: Option<String>,
    /// Whether sending has failed since the last scan.
    failed: bool,
    bind_error: Option<io::Error>,
    warned: bool,
}

/// One of the sockets.
#[derive(Debug)]
struct End {
    port: Port,
    is_v4: bool,
    socket: Option<UdpSocket>,
    errors: u32,
}

/// A packet on its way to one address.
#[derive(Debug)]
struct Datagram {
    port: Port,
    to: SocketAddr,
    /// The interface for IPv4's group.
    from: Option<Ipv4Addr>,
    bytes: Arc<[u8]>,
}

// ===== impl Sockets =====

impl Sockets {
    /// Opens what can be opened; what cannot is tried again later. Must be called within a tokio runtime.
    pub(super) fn open(selection: Selection) -> Sockets {
        let end = |port, is_v4| End {
            port,
            is_v4,
            socket: None,
            errors: 0,
        };
        let mut sockets = Sockets {
            selection,
            interfaces: Vec::new(),
            ends: [
                end(Port::Mdns, true),
                end(Port::Mdns, false),
                end(Port::Query, true),
                end(Port::Query, false),
            ],
            queue: VecDeque::new(),
            queries: 0,
            send_error: None,
            failed: false,
            bind_error: None,
            warned: false,
        };
        sockets.scan();
        sockets
    }

    fn is_bound(&self, port: Port) -> bool {
        let mut ends = self.ends.iter();
        ends.any(|end| end.port == port && end.socket.is_some())
    }

    /// Opens the sockets that are not open; true if one was opened.
    fn bind(&mut self) -> bool {
        let mut opened = false;
        self.bind_error = None;
        for end in &mut self.ends {
            if end.socket.is_some() && end.errors < MAX_ERRORS {
                continue;
            }
            end.socket = None;
            match bind(end.port, end.is_v4) {
                Ok(socket) => {
                    end.socket = Some(socket);
                    end.errors = 0;
                    opened = true;
                }
                // A machine without IPv6 is in order.
                Err(error) if end.is_v4 => self.bind_error = Some(error),
                Err(error) => debug!("mdns cannot use IPv6: {error}"),
            }
        }
        if let (Some(error), false) = (&self.bind_error, self.warned) {
            self.warned = true;
            warn!("mdns cannot open its sockets, others may not find this process: {error}");
        }
        opened
    }

    /// Joins the group on every interface. One that is joined already says so.
    fn join(&self) -> bool {
        let mut joined = false;
        for (socket, is_v4) in self.listening() {
            for interface in &self.interfaces {
                match join(socket, is_v4, interface) {
                    Ok(is_new) => joined |= is_new,
                    Err(error) => debug!(
                        interface = interface.name,
                        "mdns cannot join its group: {error}"
                    ),
                }
            }
        }
        joined
    }

    /// Leaves the group on an interface that is gone or has changed, for Linux keeps the socket's membership
    /// when an interface goes: it counts towards the 20 that a socket may have, and an interface that returns
    /// with its old number says that it is joined, but delivers nothing.
    fn leave(&self, interface: &Interface) {
        for (socket, is_v4) in self.listening() {
            if let Err(error) = leave(socket, is_v4, interface) {
                debug!(
                    interface = interface.name,
                    "mdns cannot leave its group, where it may not be any more: {error}"
                );
            }
        }
    }

    /// The sockets that are in the group, each with whether it is one of IPv4.
    fn listening(&self) -> impl Iterator<Item = (&UdpSocket, bool)> {
        let ends = self.ends.iter().filter(|end| end.port == Port::Mdns);
        ends.filter_map(|end| Some((end.socket.as_ref()?, end.is_v4)))
    }

    fn queue(&mut self, port: Port, to: SocketAddr, from: Option<Ipv4Addr>, bytes: &Arc<[u8]>) {
        if self.queue.len() >= MAX_QUEUE {
            debug!(%to, "mdns drops a packet: too many are waiting to be sent");
            return;
        }
        self.queue.push_back(Datagram {
            port,
            to,
            from,
            bytes: bytes.clone(),
        });
    }

    fn queue_for_group(&mut self, port: Port, bytes: &[u8]) {
        let bytes: Arc<[u8]> = bytes.into();
        self.failed |= self.interfaces.is_empty();
        for interface in std::mem::take(&mut self.interfaces) {
            if interface.v4.is_some() {
                self.queue(port, (GROUP_V4, MDNS_PORT).into(), interface.v4, &bytes);
            }
            if let Some(index) = interface.index.filter(|_| interface.v6) {
                let to = SocketAddrV6::new(GROUP_V6, MDNS_PORT, 0, index);
                self.queue(port, to.into(), None, &bytes);
            }
            self.interfaces.push(interface);
        }
    }

    fn is_on_link(&self, address: IpAddr) -> bool {
        let is_link_local = match address {
            // A go-micro program on a machine with nothing but a loopback interface sends from 0.0.0.0: it
            // leaves the choice to Linux, which has no address of link scope then. An answer to 0.0.0.0
            // goes to this machine.
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_unspecified(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        is_link_local
            || self
                .interfaces
                .iter()
                .any(|known| known.is_on_link(address))
    }
}

impl Datagrams for Sockets {
    fn can_answer(&mut self) -> Result<(), Error> {
        if self.is_bound(Port::Mdns) || (self.bind() && self.is_bound(Port::Mdns)) {
            self.join();
            return Ok(());
        }
        let error = Error::registry(
            "mdns cannot register: UDP port 5353 could not be opened, by which others would ask for \
             this service; looking up other services still works. Is another program using the port \
             without sharing it?",
        );
        Err(match self.bind_error.take() {
            Some(cause) => error.with_source(cause),
            None => error,
        })
    }

    fn send(&mut self, packet: Packet) {
        match packet {
            Packet::Query(bytes) => self.queue_for_group(Port::Query, &bytes),
            Packet::Announcement(bytes) => self.queue_for_group(Port::Mdns, &bytes),
            Packet::Reply(to, bytes) => self.queue(Port::Mdns, to, None, &bytes.into()),
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) {
        while let Some(datagram) = self.queue.front() {
            let end = self
                .ends
                .iter()
                .find(|end| end.port == datagram.port && end.is_v4 == datagram.to.is_ipv4());
            let sent = match end.and_then(|end| end.socket.as_ref()) {
                Some(socket) => poll_send(cx, socket, datagram),
                None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            };
            match sent {
                Poll::Pending => return,
                Poll::Ready(Ok(())) => {
                    self.queries += u64::from(datagram.port == Port::Query);
                }
                Poll::Ready(Err(error)) => {
                    debug!(to = %datagram.to, interface = ?datagram.from, "mdns cannot send: {error}");
                    // IPv6 fails on a loopback interface without that any change were to be expected.
                    self.failed |= datagram.to.is_ipv4();
                    if datagram.port == Port::Query {
                        self.send_error = Some(error.to_string());
                    }
                }
            }
            self.queue.pop_front();
        }
    }

    fn has_failed(&self) -> bool {
        self.failed
    }

    fn sent(&self) -> (u64, Option<&str>) {
        (self.queries, self.send_error.as_deref())
    }

    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<(usize, Port, SocketAddr)> {
        // The next call begins with the next socket, so that a busy one does not silence the others.
        self.ends.rotate_left(1);
        for at in 0..self.ends.len() {
            while let Some(received) = self
                .ends
                .get_mut(at)
                .and_then(|end| end.receive(cx, buffer))
            {
                let (_, _, from) = received;
                if self.is_on_link(from.ip()) {
                    return Poll::Ready(received);
                }
            }
        }
        Poll::Pending
    }

    fn scan(&mut self) -> bool {
        self.failed = false;
        let opened = self.bind();
        match self.selection.interfaces() {
            Ok(found) => {
                if found.is_empty() {
                    self.send_error = Some(match &self.selection {
                        Selection::Named(names) => {
                            format!(
                                "there is no interface with an address named {}",
                                names.join(" or ")
                            )
                        }
                        _ => "there is no interface with an address".to_owned(),
                    });
                }
                let came = found.iter().any(|one| !self.interfaces.contains(one));
                for old in &self.interfaces {
                    if !found.contains(old) {
                        self.leave(old);
                    }
                }
                self.interfaces = found;
                let joined = self.join();
                opened || joined || came
            }
            Err(error) => {
                debug!("mdns cannot list the interfaces: {error}");
                opened
            }
        }
    }
}

// ===== impl End =====

impl End {
    /// The next packet, if there is one; waits for one if not.
    fn receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Option<(usize, Port, SocketAddr)> {
        let socket = self.socket.as_ref()?;
        while self.errors < MAX_ERRORS {
            let mut unread = tokio::io::ReadBuf::new(buffer);
            match socket.poll_recv_from(cx, &mut unread) {
                Poll::Pending => return None,
                Poll::Ready(Ok(from)) => {
                    self.errors = 0;
                    return Some((unread.filled().len(), self.port, from));
                }
                // Some systems report here that an earlier reply found nobody listening.
                Poll::Ready(Err(error)) => {
                    self.errors += 1;
                    debug!("mdns cannot receive: {error}");
                }
            }
        }
        None
    }
}

fn bind(port: Port, is_v4: bool) -> io::Result<UdpSocket> {
    let domain = if is_v4 { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if is_v4 {
        socket.set_multicast_loop_v4(true)?;
        socket.set_multicast_ttl_v4(HOPS)?;
        // Without this Linux delivers what comes in by interfaces that other programs have joined, also
        // those that were not chosen here.
        #[cfg(target_os = "linux")]
        socket.set_multicast_all_v4(false)?;
    } else {
        socket.set_only_v6(true)?;
        socket.set_multicast_loop_v6(true)?;
        socket.set_multicast_hops_v6(HOPS)?;
        #[cfg(target_os = "linux")]
        socket.set_multicast_all_v6(false)?;
    }
    if let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER) {
        debug!("mdns receives with the system's buffer: {error}");
    }
    let number = match port {
        Port::Query => 0,
        Port::Mdns => {
            socket.set_reuse_address(true)?;
            // BSD's and macOS's word for sharing a port; on Linux it would spread packets over the sharers.
            #[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
            socket.set_reuse_port(true)?;
            MDNS_PORT
        }
    };
    let any: IpAddr = if is_v4 {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    socket.bind(&SocketAddr::new(any, number).into())?;
    UdpSocket::from_std(socket.into())
}

/// Joins the group on an interface; false if it was joined before, or has no such addresses.
fn join(socket: &UdpSocket, is_v4: bool, interface: &Interface) -> io::Result<bool> {
    let socket = SockRef::from(socket);
    let joined = match (is_v4, interface.v4, interface.index) {
        (true, Some(_), Some(index)) => {
            socket.join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(index))
        }
        (true, Some(address), None) => socket.join_multicast_v4(&GROUP_V4, &address),
        (false, _, Some(index)) if interface.v6 => socket.join_multicast_v6(&GROUP_V6, index),
        _ => return Ok(false),
    };
    match joined {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(false),
        Err(error) => Err(error),
    }
}

/// Leaves the group on an interface, which need not be there any more.
fn leave(socket: &UdpSocket, is_v4: bool, interface: &Interface) -> io::Result<()> {
    let socket = SockRef::from(socket);
    match (is_v4, interface.v4, interface.index) {
        (true, Some(_), Some(index)) => {
            socket.leave_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(index))
        }
        (true, Some(address), None) => socket.leave_multicast_v4(&GROUP_V4, &address),
        (false, _, Some(index)) if interface.v6 => socket.leave_multicast_v6(&GROUP_V6, index),
        _ => Ok(()),
    }
}

fn poll_send(
    cx: &mut Context<'_>,
    socket: &UdpSocket,
    datagram: &Datagram,
) -> Poll<io::Result<()>> {
    if let Some(interface) = &datagram.from
        && let Err(error) = SockRef::from(socket).set_multicast_if_v4(interface)
    {
        return Poll::Ready(Err(error));
    }
    socket
        .poll_send_to(cx, &datagram.bytes, datagram.to)
        .map_ok(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_interface_that_goes_is_left_and_one_that_returns_is_joined() {
        let mut sockets = Sockets::open(Selection::Loopback);
        assert!(!sockets.interfaces.is_empty());
        assert!(!sockets.scan(), "nothing has changed");
        for _ in 0..50 {
            let was = sockets.interfaces.clone();
            sockets.selection = Selection::Named(vec!["no-such-if0".to_owned()]);
            assert!(!sockets.scan(), "nothing came");
            assert_eq!(sockets.interfaces, []);
            for interface in &was {
                for (socket, is_v4) in sockets.listening() {
                    let again = leave(socket, is_v4, interface);
                    if is_v4 {
                        again.expect_err("it has been left");
                    }
                }
            }
            sockets.send(Packet::Announcement(vec![0; 12]));
            assert!(sockets.has_failed(), "there is nowhere to send it to");
            assert!(sockets.queue.is_empty());

            sockets.selection = Selection::Loopback;
            assert!(sockets.scan(), "it came");
            assert!(!sockets.has_failed());
            assert!(!sockets.join(), "it is joined");
            assert_eq!(sockets.interfaces, was);
        }
    }
}
