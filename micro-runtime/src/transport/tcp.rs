//! TCP: listening, dialling, and the options of every socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::task::JoinSet;

/// A peer that is gone without a word is found out after 15 s and three more probes, and one that takes
/// nothing of what was sent after 20 s. Unlike PING frames of HTTP/2, no peer counts these as a nuisance.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const KEEP_ALIVE_PROBES: u32 = 3;
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(20);

/// Connections that wait to be accepted. What the system allows less, it cuts by itself.
const BACKLOG: i32 = 1024;

/// How long one of several addresses may take before the next is tried beside it (RFC 8305 §5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Sets the options that every connection has, whoever made its socket.
pub(super) fn tune(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let keep_alive = TcpKeepalive::new()
        .with_time(KEEP_ALIVE)
        .with_interval(KEEP_ALIVE)
        .with_retries(KEEP_ALIVE_PROBES);
    let set = stream
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&keep_alive));
    #[cfg(target_os = "linux")]
    let set = set.and_then(|()| socket.set_tcp_user_timeout(Some(USER_TIMEOUT)));
    if let Err(error) = set {
        // A socket that is closed already fails here first; its reader finds out as well.
        tracing::debug!(%error, "a socket's options were not set");
    }
}

/// Listens on every address of a host that can be listened on at one port; an empty host is every interface.
pub(super) async fn bind(host: &str, port: u16) -> io::Result<TcpListener> {
    if host.is_empty() || host == "::" {
        // IPv6 and IPv4 in one socket, where the machine has IPv6.
        return match listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
            }
            bound => bound,
        };
    }
    let mut failed = None;
    for address in lookup_host((host, port)).await? {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| unknown(host)))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    // A restart must not wait for the last connections of the process before it. On Windows the option means
    // something else, and the default is right.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Connects to the first address of a host that answers; an empty host is this machine.
pub(super) async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let host = match host {
        "" | "::" | "0.0.0.0" => "localhost",
        host => host,
    };
    let mut addresses = lookup_host((host, port)).await?;
    let mut attempts = JoinSet::new();
    let mut failed = None;
    loop {
        match addresses.next() {
            Some(address) => {
                attempts.spawn(TcpStream::connect(address));
            }
            None if attempts.is_empty() => return Err(failed.unwrap_or_else(|| unknown(host))),
            None => {}
        }
        let more = addresses.size_hint().1 != Some(0);
        let ended = tokio::select! {
            ended = attempts.join_next() => ended,
            () = tokio::time::sleep(NEXT_ADDRESS), if more => continue,
        };
        match ended {
            Some(Ok(Ok(stream))) => {
                tune(&stream);
                return Ok(stream);
            }
            Some(Ok(Err(error))) => failed = Some(error),
            Some(Err(_)) | None => {}
        }
    }
}

fn unknown(host: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("the host {host:?} has no address"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sockets_are_tuned() {
        let listener = bind("127.0.0.1", 0).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let dialled = dial("127.0.0.1", port).await.unwrap();
        assert!(dialled.nodelay().unwrap());
        let socket = SockRef::from(&dialled);
        assert!(socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error() {
        let listener = bind("127.0.0.1", 0).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = bind("127.0.0.1", port).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn every_address_of_a_name_is_tried() {
        // The name has ::1 first on most machines, where nobody listens.
        let listener = bind("127.0.0.1", 0).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        dial("localhost", port).await.unwrap();
        drop(listener);
        let error = dial("localhost", port).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
