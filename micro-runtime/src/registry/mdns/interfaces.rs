//! The machine's network interfaces: which are to be used, and who is on their links.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use if_addrs::{IfAddr, IfOperStatus};

/// Which interfaces a registry uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// Every one that has an address.
    All,
    /// Those with these names, or one of these addresses.
    Named(Vec<String>),
    /// The loopback interface, whatever its name.
    Loopback,
}

/// An interface that is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    /// The system's number for it.
    pub(super) index: Option<u32>,
    /// Its first IPv4 address, by which it is chosen for sending.
    pub(super) v4: Option<Ipv4Addr>,
    /// Whether it has an IPv6 address.
    pub(super) v6: bool,
    /// Whether its cable is in, so to say. It is used in any case; but peers must hear of us once it is.
    is_up: bool,
    /// Its addresses, with how many of their bits name the network.
    nets: Vec<(IpAddr, u8)>,
}

// ===== impl Selection =====

impl Selection {
    /// The interfaces of this choice that exist now.
    pub(super) fn interfaces(&self) -> io::Result<Vec<Interface>> {
        let mut by_name: BTreeMap<String, Interface> = BTreeMap::new();
        let all = if_addrs::get_if_addrs()?;
        // One of its addresses chooses the interface with all of them.
        let taken: BTreeSet<String> = all
            .iter()
            .filter(|found| self.takes(&found.name, found.ip(), found.is_loopback()))
            .map(|found| found.name.clone())
            .collect();
        for found in all {
            if !taken.contains(&found.name) {
                continue;
            }
            let interface = by_name
                .entry(found.name.clone())
                .or_insert_with(|| Interface {
                    name: found.name,
                    index: found.index,
                    v4: None,
                    v6: false,
                    is_up: found.oper_status == IfOperStatus::Up,
                    nets: Vec::new(),
                });
            match found.addr {
                IfAddr::V4(v4) => {
                    interface.v4.get_or_insert(v4.ip);
                    interface.nets.push((v4.ip.into(), v4.prefixlen));
                }
                IfAddr::V6(v6) => {
                    interface.v6 = true;
                    interface.nets.push((v6.ip.into(), v6.prefixlen));
                }
            }
        }
        let mut interfaces: Vec<Interface> = by_name.into_values().collect();
        // Linux lets a socket join 20 groups (`net.ipv4.igmp_max_memberships`). On a machine with more
        // interfaces, the loopback and those that came first are served, not the containers' bridges.
        interfaces.sort_by_key(|found| {
            let is_loopback = found.nets.iter().any(|(address, _)| address.is_loopback());
            (!is_loopback, found.index)
        });
        Ok(interfaces)
    }

    fn takes(&self, name: &str, address: IpAddr, is_loopback: bool) -> bool {
        match self {
            Selection::All => true,
            Selection::Named(wanted) => wanted
                .iter()
                .any(|wanted| wanted == name || wanted.parse() == Ok(address)),
            Selection::Loopback => is_loopback,
        }
    }
}

// ===== impl Interface =====

impl Interface {
    /// Whether an address is on this interface's link. Packets from elsewhere are dropped, as RFC 6762 §11
    /// asks for: multicast does not come from there, and what is sent to our ports by unicast is forged.
    pub(super) fn is_on_link(&self, address: IpAddr) -> bool {
        self.nets
            .iter()
            .any(|(net, bits)| same_network(*net, address, *bits))
    }
}

fn same_network(a: IpAddr, b: IpAddr, bits: u8) -> bool {
    let bits = u32::from(bits);
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let mask = u32::MAX
                .checked_shl(32_u32.saturating_sub(bits))
                .unwrap_or(0);
            a.to_bits() & mask == b.to_bits() & mask
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let mask = u128::MAX
                .checked_shl(128_u32.saturating_sub(bits))
                .unwrap_or(0);
            a.to_bits() & mask == b.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks() {
        for (a, b, bits, same) in [
            ("127.0.0.1", "127.9.9.9", 8, true),
            ("192.0.2.2", "192.0.3.2", 24, false),
            ("192.0.2.2", "192.0.3.2", 16, true),
            ("192.0.2.2", "192.0.2.3", 32, false),
            ("192.0.2.2", "192.0.2.2", 32, true),
            ("1.2.3.4", "5.6.7.8", 0, true),
            ("fd00::2", "fd00::ffff", 64, true),
            ("fd00::2", "fd01::2", 64, false),
            ("::1", "::1", 128, true),
            ("127.0.0.1", "::1", 0, false),
        ] {
            assert_eq!(same_network(ip(a), ip(b), bits), same, "{a} {b} /{bits}");
        }
    }

    #[test]
    fn loopback_is_always_there() {
        let found = Selection::Loopback.interfaces().unwrap();
        let lo = found.iter().find(|found| found.v4.is_some()).unwrap();
        assert!(lo.is_on_link(ip("127.0.0.1")));
        assert!(!lo.is_on_link(ip("192.0.2.1")));
        let named = Selection::Named(vec![lo.name.clone()])
            .interfaces()
            .unwrap();
        assert_eq!(named.as_slice(), std::slice::from_ref(lo));
        let by_address = Selection::Named(vec!["127.0.0.1".into()]);
        assert_eq!(by_address.interfaces().unwrap(), named);
        let none = Selection::Named(vec!["no such interface".into(), "192.0.2.1".into()]);
        assert!(none.interfaces().unwrap().is_empty());
    }
}
