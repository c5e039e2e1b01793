//! The address under which others reach a server: what goes into the registry.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::settings::{Origin, join, shown, split};
use crate::error::Error;

/// What sets an address to advertise, for the words of errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// In code.
    pub(crate) code: &'static str,
    /// In every way there is.
    pub(crate) ways: &'static str,
}

/// The setting of a service.
pub(crate) const SERVICE: Setting = Setting {
    code: "ServiceBuilder::advertise",
    ways: "ServiceBuilder::advertise or --server_advertise",
};

/// The address to register for a server that listens on `bound`: what `advertise` says, filled up from
/// `bound`; a host that stands for every interface becomes the best of `interfaces`.
///
/// `advertise` is `host:port`, `host` or `:port`, as `setting` set it. `[::]` listens for IPv4
/// too (it is bound dual-stack), `0.0.0.0` only for that.
///
/// # Errors
/// If `advertise` is none of these, and if no interface has an address that others could use.
pub(crate) fn address(
    advertise: Option<&str>,
    bound: SocketAddr,
    interfaces: &[IpAddr],
    setting: Setting,
) -> Result<String, Error> {
    let (host, port) = match advertise {
        None => ("", None),
        Some(text) => split(text).ok_or_else(|| {
            Origin::Code(setting.code).error(format_args!(
                "expected host:port, host or :port (an IPv6 host in brackets), found {}",
                shown(text)
            ))
        })?,
    };
    let port = port.filter(|port| *port != 0).unwrap_or(bound.port());
    let every = match host {
        "" => bound.ip().is_unspecified(),
        "*" => true,
        _ => host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()),
    };
    if !every {
        let host = match host {
            "" => bound.ip().to_canonical().to_string(),
            host => host.to_owned(),
        };
        return Ok(join(&host, port));
    }
    // A server that is bound to one address is reached there, whatever the setting calls every interface.
    if !bound.ip().is_unspecified() {
        return Ok(join(&bound.ip().to_canonical().to_string(), port));
    }
    let best = interfaces
        .iter()
        .map(IpAddr::to_canonical)
        .filter(|ip| bound.is_ipv6() || ip.is_ipv4())
        .filter_map(|ip| Some((rank(ip)?, ip)))
        .min_by_key(|ranked| ranked.0);
    match best {
        Some((_, ip)) => Ok(join(&ip.to_string(), port)),
        None => Err(Error::transport(format_args!(
            "expected an interface with an address that others can reach, to register the server on {bound}, found none \
             among {interfaces:?}; set {}",
            setting.ways
        ))),
    }
}

/// The addresses of this machine's interfaces, in the system's order, without those that are down (a bridge
/// for containers none of which runs is, and nobody answers there).
///
/// # Errors
/// If the system does not tell.
pub(crate) fn interfaces() -> Result<Vec<IpAddr>, Error> {
    use if_addrs::IfOperStatus::{Down, LowerLayerDown, NotPresent};

    let interfaces = if_addrs::get_if_addrs().map_err(|error| {
        Error::transport("the addresses of this machine's interfaces could not be read")
            .with_source(error)
    })?;
    Ok(interfaces
        .iter()
        .filter(|interface| !matches!(interface.oper_status, Down | LowerLayerDown | NotPresent))
        .map(if_addrs::Interface::ip)
        .collect())
}

/// How good an address is to be reached at, best first; none for what means nothing on another machine.
/// Loopback comes last, so that services on a machine without a network find each other.
fn rank(ip: IpAddr) -> Option<u8> {
    match ip {
        IpAddr::V4(v4) if v4.is_loopback() => Some(4),
        IpAddr::V6(v6) if v6.is_loopback() => Some(5),
        IpAddr::V4(v4)
            if v4.is_unspecified()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast() =>
        {
            None
        }
        IpAddr::V6(v6)
            if v6.is_unspecified() || v6.is_unicast_link_local() || v6.is_multicast() =>
        {
            None
        }
        IpAddr::V4(v4) if is_private(v4) => Some(0),
        IpAddr::V6(v6) if is_unique_local(v6) => Some(1),
        IpAddr::V4(_) => Some(2),
        IpAddr::V6(_) => Some(3),
    }
}

/// RFC 1918, and RFC 6598 (shared by carriers), which go-micro v2 counts as private too.
fn is_private(ip: Ipv4Addr) -> bool {
    let [a, b, _, _] = ip.octets();
    ip.is_private() || (a == 100 && b & 0xc0 == 64)
}

/// fc00::/7, RFC 4193.
fn is_unique_local(ip: Ipv6Addr) -> bool {
    ip.is_unique_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(list: &str) -> Vec<IpAddr> {
        list.split_whitespace()
            .map(|ip| ip.parse().unwrap())
            .collect()
    }

    fn on(advertise: Option<&str>, bound: &str, interfaces: &str) -> Result<String, Error> {
        let (bound, interfaces) = (bound.parse().unwrap(), ips(interfaces));
        address(advertise, bound, &interfaces, SERVICE)
    }

    #[test]
    fn a_server_on_one_address_is_found_there() {
        for (bound, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
            ("[fd00::7]:80", "[fd00::7]:80"),
            ("[::ffff:10.0.0.7]:80", "10.0.0.7:80"),
        ] {
            assert_eq!(on(None, bound, "10.0.0.1").unwrap(), expected);
        }
    }

    #[test]
    fn a_wildcard_becomes_the_best_interface() {
        for (interfaces, dual, v4_only) in [
            (
                "127.0.0.1 ::1 8.8.8.8 fd00::1 192.168.0.2 10.0.0.1",
                Some("192.168.0.2:80"),
                Some("192.168.0.2:80"),
            ),
            (
                "127.0.0.1 8.8.8.8 100.64.0.1",
                Some("100.64.0.1:80"),
                Some("100.64.0.1:80"),
            ),
            (
                "127.0.0.1 8.8.8.8 100.128.0.1",
                Some("8.8.8.8:80"),
                Some("8.8.8.8:80"),
            ),
            (
                "127.0.0.1 172.16.3.4 172.32.0.1",
                Some("172.16.3.4:80"),
                Some("172.16.3.4:80"),
            ),
            (
                "127.0.0.1 2001:db8::1 fd00::1 8.8.8.8",
                Some("[fd00::1]:80"),
                Some("8.8.8.8:80"),
            ),
            (
                "127.0.0.1 2001:db8::1 8.8.8.8",
                Some("8.8.8.8:80"),
                Some("8.8.8.8:80"),
            ),
            (
                "::1 127.0.0.1 2001:db8::1",
                Some("[2001:db8::1]:80"),
                Some("127.0.0.1:80"),
            ),
            (
                "::1 127.0.0.1 fe80::1 169.254.7.7",
                Some("127.0.0.1:80"),
                Some("127.0.0.1:80"),
            ),
            ("::1 fe80::1", Some("[::1]:80"), None),
            (
                "::ffff:10.0.0.7 ::1",
                Some("10.0.0.7:80"),
                Some("10.0.0.7:80"),
            ),
            (
                "fe80::1 169.254.7.7 0.0.0.0 :: 224.0.0.251 ff02::fb 255.255.255.255",
                None,
                None,
            ),
            ("", None, None),
        ] {
            assert_eq!(
                on(None, "[::]:80", interfaces).ok().as_deref(),
                dual,
                "{interfaces}"
            );
            assert_eq!(
                on(None, "0.0.0.0:80", interfaces).ok().as_deref(),
                v4_only,
                "{interfaces}"
            );
        }
        let error = on(None, "0.0.0.0:80", "fe80::1").unwrap_err().to_string();
        assert!(
            error.contains("0.0.0.0:80") && error.contains("fe80::1"),
            "{error}"
        );
    }

    #[test]
    fn what_is_set_is_filled_up() {
        let interfaces = "127.0.0.1 10.0.0.1";
        for (advertise, bound, expected) in [
            ("shop.example:443", "[::]:80", "shop.example:443"),
            ("shop.example", "[::]:80", "shop.example:80"),
            ("shop.example:0", "[::]:80", "shop.example:80"),
            (":443", "[::]:80", "10.0.0.1:443"),
            (":443", "127.0.0.1:80", "127.0.0.1:443"),
            ("0.0.0.0:443", "[::]:80", "10.0.0.1:443"),
            ("[::]:443", "0.0.0.0:80", "10.0.0.1:443"),
            ("*", "0.0.0.0:80", "10.0.0.1:80"),
            ("0.0.0.0", "127.0.0.1:80", "127.0.0.1:80"),
            ("fd00::1", "[::]:80", "[fd00::1]:80"),
            ("[fd00::1]:443", "[::]:80", "[fd00::1]:443"),
            ("169.254.7.7:1", "[::]:80", "169.254.7.7:1"),
        ] {
            assert_eq!(
                on(Some(advertise), bound, interfaces).unwrap(),
                expected,
                "{advertise}"
            );
        }
        let error = on(Some("a:b"), "[::]:80", interfaces)
            .unwrap_err()
            .to_string();
        assert!(error.ends_with("found \"a:b\""), "{error}");
    }

    #[test]
    fn this_machine_has_an_interface() {
        let interfaces = interfaces().unwrap();
        assert!(interfaces.iter().any(IpAddr::is_loopback), "{interfaces:?}");
        assert!(address(None, "0.0.0.0:80".parse().unwrap(), &interfaces, SERVICE).is_ok());
    }
}
