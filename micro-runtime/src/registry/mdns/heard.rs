//! What a response says of instances: its records, put together.
//!
//! A packet is taken as a whole: an instance's port, host, address and text come from one packet, as every
//! go-micro responder sends them. A host's address is never taken from another packet, for the entries of
//! go-micro's list of services give every host the address 0.0.0.0.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::name::Name;
use super::wire::{Data, Message, Record};

/// The longest that a peer's word is taken for, RFC 6762 §10's value for records without host names.
const MAX_TTL: u32 = 75 * 60;

/// An instance that a packet speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard<'a> {
    pub(super) name: Name,
    /// For how long it holds; zero says that the instance is gone.
    pub(super) ttl: Duration,
    /// Where it is, if the packet says so with a port and an address that can be dialled.
    pub(super) address: Option<SocketAddr>,
    /// The data of its TXT record.
    pub(super) text: Option<&'a [u8]>,
}

#[derive(Default)]
struct Parts<'a> {
    ttl: Option<u32>,
    host: Option<(&'a Name, u16)>,
    text: Option<&'a [u8]>,
}

/// The instances of `domain` in a response, each once. Authority records are ignored, as go-micro does.
pub(super) fn instances<'a>(message: &'a Message<'a>, domain: &Name) -> Vec<Heard<'a>> {
    let records: Vec<&Record<'_>> = said(message).collect();
    let mut parts: BTreeMap<&Name, Parts<'_>> = BTreeMap::new();
    let mut addresses: BTreeMap<&Name, IpAddr> = BTreeMap::new();
    for record in records {
        let name = match &record.data {
            // A goodbye may be a PTR alone (RFC 6762 §10.1).
            Data::Ptr(target) if record.ttl == 0 => target,
            Data::Srv { .. } | Data::Txt(_) => &record.name,
            Data::A(address) => {
                addresses.insert(&record.name, (*address).into());
                continue;
            }
            Data::Aaaa(address) => {
                // Go dials the IPv4 address if there are both.
                let address = IpAddr::V6(*address);
                addresses.entry(&record.name).or_insert(address);
                continue;
            }
            Data::Ptr(_) | Data::Other(..) => continue,
        };
        let part = parts.entry(name).or_default();
        part.ttl = Some(part.ttl.map_or(record.ttl, |ttl| ttl.min(record.ttl)));
        match &record.data {
            Data::Srv { port, target, .. } => part.host = Some((target, *port)),
            Data::Txt(text) => part.text = Some(text),
            _ => {}
        }
    }
    parts
        .into_iter()
        .filter(|(name, _)| name.strip_suffix(domain).is_some())
        .map(|(name, part)| Heard {
            name: name.clone(),
            ttl: Duration::from_secs(part.ttl.unwrap_or_default().min(MAX_TTL).into()),
            address: part.host.and_then(|(host, port)| {
                let ip = addresses.get(host)?;
                (port != 0 && !ip.is_unspecified()).then(|| SocketAddr::new(*ip, port))
            }),
            text: part.text,
        })
        .collect()
}

/// The services that a response puts into the list: its instances of `list` that are not gone.
pub(super) fn listed(message: &Message<'_>, list: &Name) -> BTreeSet<String> {
    said(message)
        .filter(|record| record.ttl > 0 && record.name == *list)
        .filter_map(|record| match &record.data {
            Data::Ptr(target) => target.strip_suffix(list)?.text(),
            _ => None,
        })
        .collect()
}

fn said<'a>(message: &'a Message<'a>) -> impl Iterator<Item = &'a Record<'a>> {
    let sections = [&message.answers, &message.additionals];
    sections
        .into_iter()
        .flatten()
        .filter(|record| record.is_internet())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::super::wire::IN;
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    fn record<'a>(owner: &str, ttl: u32, data: Data<'a>) -> Record<'a> {
        Record {
            name: name(owner),
            class: IN | 0x8000,
            ttl,
            data,
        }
    }

    fn srv<'a>(port: u16, host: &str) -> Data<'a> {
        Data::Srv {
            priority: 0,
            weight: 0,
            port,
            target: name(host),
        }
    }

    #[test]
    fn several_instances_in_any_order_and_section() {
        let message = Message {
            answers: vec![
                record("h", 9, Data::Aaaa(Ipv6Addr::LOCALHOST)),
                record("a.s.micro", 120, Data::Txt(b"")),
                record("b.s.micro", 120, srv(2, "i")),
            ],
            additionals: vec![
                record("b.s.micro", 60, Data::Txt(b"\x01b")),
                record("h", 9, Data::A(Ipv4Addr::LOCALHOST)),
                record("a.s.micro", 999_999, srv(1, "h")),
                record("x.local", 9, srv(1, "h")),
            ],
            ..Message::default()
        };
        let heard = instances(&message, &name("micro"));
        assert_eq!(heard.len(), 2, "x.local is of another domain");
        assert_eq!(heard[0].name, name("a.s.micro"));
        assert_eq!(heard[0].address, Some("127.0.0.1:1".parse().unwrap()));
        assert_eq!(heard[0].ttl.as_secs(), 120);
        assert_eq!(heard[1].address, None, "its host has no address");
        assert_eq!(heard[1].text, Some(&b"\x01b"[..]));
        assert_eq!(heard[1].ttl.as_secs(), 60, "the shortest of its records");
    }

    #[test]
    fn what_cannot_be_dialled_has_no_address() {
        for (port, ip) in [(0, Ipv4Addr::LOCALHOST), (1, Ipv4Addr::UNSPECIFIED)] {
            let message = Message {
                answers: vec![
                    record("a.s.micro", 1, srv(port, "h")),
                    record("h", 1, Data::A(ip)),
                ],
                ..Message::default()
            };
            assert_eq!(instances(&message, &name("micro"))[0].address, None);
        }
    }

    #[test]
    fn a_ptr_alone_says_goodbye() {
        let gone = record("s.micro", 0, Data::Ptr(name("a.s.micro")));
        let here = record("s.micro", 1, Data::Ptr(name("b.s.micro")));
        let message = Message {
            answers: vec![gone, here],
            ..Message::default()
        };
        let heard = instances(&message, &name("micro"));
        assert_eq!(heard.len(), 1);
        assert_eq!(
            (heard[0].name.clone(), heard[0].ttl),
            (name("a.s.micro"), Duration::ZERO)
        );
    }

    #[test]
    fn the_list_of_services() {
        let list = name("_services.micro");
        let entry = |ttl, target: &str| record("_services.micro", ttl, Data::Ptr(name(target)));
        let message = Message {
            answers: vec![
                entry(120, "go.greeter._services.micro"),
                entry(0, "gone._services.micro"),
                entry(120, "elsewhere.local"),
            ],
            ..Message::default()
        };
        assert_eq!(listed(&message, &list), ["go.greeter".to_owned()].into());
    }
}
