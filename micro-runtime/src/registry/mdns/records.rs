//! What is said of an instance: the records, and the packets they travel in.
//!
//! Go's client keeps only the last instance that a packet speaks of, and takes an address only after the
//! SRV record that names its host (go-micro v2.9.1 util/mdns/client.go `messageToEntry`). So there is one
//! instance in a packet, and the order is PTR, SRV, A or AAAA, TXT.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::name::Name;
use super::wire::{
    A, AAAA, ANY, AUTHORITATIVE, CLASS_TOP_BIT, Data, IN, Message, PTR, Question, RESPONSE, Record,
    SRV, TXT,
};

/// Seconds for which what we say holds; go-micro's, and RFC 6762 §10's for records with host names.
pub(super) const TTL: u32 = 120;

/// go-micro's priority and weight of SRV records; nobody reads them.
const PRIORITY: u16 = 10;
const WEIGHT: u16 = 1;

/// The port in the entries of the list of services; nobody dials it, but Go's client wants one.
const LIST_PORT: u16 = 9999;

/// A node of a service, or a service in the list of services, as DNS has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instance {
    /// What it is an instance of, such as `greeter.micro` or `_services.micro`.
    pub(super) service: Name,
    /// Its own name, such as `greeter-1.greeter.micro`.
    pub(super) name: Name,
    /// The host that the SRV record points to.
    pub(super) host: Name,
    pub(super) address: SocketAddr,
    /// The TXT record's data.
    pub(super) text: Vec<u8>,
}

// ===== impl Instance =====

impl Instance {
    /// The entry that makes a service appear in the list: a name alone, though Go's client wants a host,
    /// an address, a port and a text.
    pub(super) fn list_entry(list: &Name, name: Name, host: Name) -> Instance {
        Instance {
            service: list.clone(),
            name,
            host,
            address: (Ipv4Addr::UNSPECIFIED, LIST_PORT).into(),
            text: Vec::new(),
        }
    }

    /// The packet that answers a question, if this instance has an answer. Go's client wants the question
    /// back, and the id to be zero unless it asked for unicast (RFC 6762 §18.1).
    pub(super) fn reply(&self, id: u16, question: &Question) -> Option<Vec<u8>> {
        let mut answers = Vec::with_capacity(4);
        if question.name == self.service {
            if !question.asks_for(PTR) {
                return None;
            }
            let target = Data::Ptr(self.name.clone());
            answers.push(record(&self.service, TTL, target));
            self.push_all(TTL, &mut answers);
        } else if question.name == self.name {
            match question.kind {
                SRV => {
                    answers.push(self.srv(TTL));
                    answers.push(self.host_address(TTL));
                }
                TXT => answers.push(self.txt(TTL)),
                A | AAAA => answers.extend(self.host_of_kind(question.kind)),
                ANY => self.push_all(TTL, &mut answers),
                _ => {}
            }
        } else if question.name == self.host {
            answers.extend(self.host_of_kind(question.kind));
        }
        (!answers.is_empty()).then(|| reply(id, question, answers))
    }

    /// The packet that tells everyone, with a TTL of zero that it is gone. Go's announcements have no
    /// question, no PTR and whole names, and lack the bit AA.
    pub(super) fn announcement(&self, ttl: u32) -> Vec<u8> {
        let mut message = Message {
            flags: RESPONSE,
            ..Message::default()
        };
        self.push_all(ttl, &mut message.answers);
        message.write(false)
    }

    fn push_all<'a>(&'a self, ttl: u32, answers: &mut Vec<Record<'a>>) {
        answers.push(self.srv(ttl));
        answers.push(self.host_address(ttl));
        answers.push(self.txt(ttl));
    }

    fn srv(&self, ttl: u32) -> Record<'_> {
        let data = Data::Srv {
            priority: PRIORITY,
            weight: WEIGHT,
            port: self.address.port(),
            target: self.host.clone(),
        };
        record(&self.name, ttl, data)
    }

    fn host_address(&self, ttl: u32) -> Record<'_> {
        let data = match self.address.ip() {
            IpAddr::V4(address) => Data::A(address),
            IpAddr::V6(address) => Data::Aaaa(address),
        };
        record(&self.host, ttl, data)
    }

    fn host_of_kind(&self, kind: u16) -> Option<Record<'_>> {
        let ours = if self.address.is_ipv4() { A } else { AAAA };
        (kind == ours).then(|| self.host_address(TTL))
    }

    fn txt(&self, ttl: u32) -> Record<'_> {
        record(&self.name, ttl, Data::Txt(&self.text))
    }
}

fn record<'a>(name: &Name, ttl: u32, data: Data<'a>) -> Record<'a> {
    Record {
        name: name.clone(),
        class: IN,
        ttl,
        data,
    }
}

fn reply(id: u16, question: &Question, answers: Vec<Record<'_>>) -> Vec<u8> {
    let wants_unicast = question.class & CLASS_TOP_BIT != 0;
    let message = Message {
        id: if wants_unicast { id } else { 0 },
        flags: RESPONSE | AUTHORITATIVE,
        questions: vec![question.clone()],
        answers,
        ..Message::default()
    };
    message.write(true)
}

/// The reply to "which kinds of service are there" (RFC 6763 §9) that names one.
pub(super) fn enumeration_reply(id: u16, question: &Question, service: &Name) -> Vec<u8> {
    let answer = record(&question.name, TTL, Data::Ptr(service.clone()));
    reply(id, question, vec![answer])
}

/// The query for the instances of a service.
pub(super) fn query(id: u16, service: &Name) -> Vec<u8> {
    let message = Message {
        id,
        questions: vec![Question::new(service.clone(), PTR)],
        ..Message::default()
    };
    message.write(true)
}
