//! TCP: listening, dialling, and the options of every socket.

use std::future::Future;
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

/// Connects to the first address of a host that answers ("happy eyeballs", RFC 8305); an empty host is this
/// machine.
pub(crate) async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let host = match host {
        "" | "::" | "0.0.0.0" => "localhost",
        host => host,
    };
    let addresses = interleaved(lookup_host((host, port)).await?.collect());
    let raced = race(addresses, TcpStream::connect).await;
    let stream = raced.map_err(|failed| failed.unwrap_or_else(|| unknown(host)))?;
    tune(&stream);
    Ok(stream)
}

/// The addresses as the system sorted them, but IPv6 and IPv4 in turns, beginning with what was first (RFC 8305
/// §4): a network that swallows one of the two costs one attempt, and not as many as it has addresses.
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut all = Vec::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        let before = all.len();
        all.extend(first.next());
        all.extend(second.next());
        if all.len() == before {
            return all;
        }
    }
}

/// The first of some addresses that answers. The next is tried when one fails, or beside it after
/// [`NEXT_ADDRESS`]; the last failure if all do.
async fn race<T, C, F>(addresses: Vec<SocketAddr>, connect: C) -> Result<T, Option<io::Error>>
where
    T: Send + 'static,
    C: Fn(SocketAddr) -> F,
    F: Future<Output = io::Result<T>> + Send + 'static,
{
    let mut addresses = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut failed = None;
    loop {
        match addresses.next() {
            Some(address) => {
                attempts.spawn(connect(address));
            }
            None if attempts.is_empty() => return Err(failed),
            None => {}
        }
        let more = addresses.len() > 0;
        let ended = tokio::select! {
            ended = attempts.join_next() => ended,
            () = tokio::time::sleep(NEXT_ADDRESS), if more => continue,
        };
        match ended {
            Some(Ok(Ok(connected))) => return Ok(connected),
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
        {
            assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEP_ALIVE);
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEP_ALIVE);
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEP_ALIVE_PROBES);
        }
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

    #[test]
    fn families_take_turns() {
        let address = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let (a6, b6, c6) = (address("[::a]:1"), address("[::b]:1"), address("[::c]:1"));
        let (a4, b4) = (address("10.0.0.1:1"), address("10.0.0.2:1"));
        for (given, expected) in [
            (vec![], vec![]),
            (vec![a4, b4], vec![a4, b4]),
            (vec![a6, b6, c6, a4], vec![a6, a4, b6, c6]),
            (vec![a4, b4, a6], vec![a4, a6, b4]),
            (vec![a6, a4, b4, b6], vec![a6, a4, b6, b4]),
        ] {
            assert_eq!(interleaved(given), expected);
        }
    }

    /// How long a race takes, and who wins, among addresses of these ports, which answer so.
    async fn raced(
        ports: std::ops::Range<u16>,
        answer: impl Fn(u16) -> Option<(u64, bool)>,
    ) -> (Result<u16, String>, u128) {
        let start = tokio::time::Instant::now();
        let addresses = ports.map(|port| SocketAddr::from(([10, 0, 0, 1], port)));
        let won = race(addresses.collect(), |address| {
            let answer = answer(address.port());
            async move {
                let Some((millis, well)) = answer else {
                    return std::future::pending().await;
                };
                tokio::time::sleep(Duration::from_millis(millis)).await;
                if well {
                    Ok(address.port())
                } else {
                    Err(io::Error::other(format!("port {}", address.port())))
                }
            }
        });
        let won = won.await.map_err(|failed| failed.unwrap().to_string());
        (won, start.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_address_is_tried_beside_a_silent_one() {
        let slow = raced(0..3, |port| (port == 1).then_some((40, true)));
        assert_eq!(slow.await, (Ok(1), 290));
        // A failure is followed at once, and what was begun goes on.
        let refused = raced(0..2, |port| Some((10, port == 1)));
        assert_eq!(refused.await, (Ok(1), 20));
        let both = raced(0..2, |port| Some(([300, 200][usize::from(port)], true)));
        assert_eq!(both.await, (Ok(0), 300));
        let all = raced(0..3, |_| Some((10, false)));
        assert_eq!(all.await, (Err("port 2".to_owned()), 30));
        let none = race(Vec::new(), |_| async { Ok(()) });
        assert!(none.await.unwrap_err().is_none());
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
