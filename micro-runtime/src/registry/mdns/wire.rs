//! DNS messages (RFC 1035 §4): reading what peers send, writing ours.
//!
//! The reader trusts nothing. Counts and lengths only bound loops that end with the packet; a name's
//! pointers must each point further back, so that they cannot loop; no record makes it allocate more than
//! its name's 255 bytes, texts are borrowed from the packet.

use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::name::Name;

/// A question for everything there is of a name.
pub(super) const ANY: u16 = 255;
/// The record types that discovery uses (RFC 1035 §3.2.2, RFC 3596, RFC 2782).
pub(super) const A: u16 = 1;
pub(super) const PTR: u16 = 12;
pub(super) const TXT: u16 = 16;
pub(super) const AAAA: u16 = 28;
pub(super) const SRV: u16 = 33;

/// The class of everything here.
pub(super) const IN: u16 = 1;
/// The top bit of a class: cache-flush in records (RFC 6762 §10.2), "unicast, please" in questions (§5.4).
pub(super) const CLASS_TOP_BIT: u16 = 0x8000;

/// QR, set in responses.
pub(super) const RESPONSE: u16 = 0x8000;
/// AA, set in replies to queries.
pub(super) const AUTHORITATIVE: u16 = 0x0400;
/// OPCODE and RCODE, both zero in every mDNS message (RFC 6762 §18.3, §18.11).
const OPCODE_AND_RCODE: u16 = 0x780f;

/// The most questions and records of a packet. A go-micro packet has five; the largest packet would have
/// room for six thousand.
const MAX_ITEMS: usize = 512;

/// The furthest that a pointer of two bytes reaches (RFC 1035 §4.1.4).
const MAX_POINTER: u16 = 0x3fff;

/// A DNS message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) id: u16,
    pub(super) flags: u16,
    pub(super) questions: Vec<Question>,
    pub(super) answers: Vec<Record<'a>>,
    pub(super) authorities: Vec<Record<'a>>,
    pub(super) additionals: Vec<Record<'a>>,
}

/// What a query asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) name: Name,
    pub(super) kind: u16,
    pub(super) class: u16,
}

/// A resource record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) name: Name,
    pub(super) class: u16,
    /// Seconds; zero in a goodbye (RFC 6762 §10.1).
    pub(super) ttl: u32,
    pub(super) data: Data<'a>,
}

/// What a record says, by its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data<'a> {
    /// The address of a host.
    A(Ipv4Addr),
    /// The IPv6 address of a host.
    Aaaa(Ipv6Addr),
    /// An instance of a service.
    Ptr(Name),
    /// Where an instance is.
    Srv {
        priority: u16,
        weight: u16,
        port: u16,
        target: Name,
    },
    /// An instance's text: strings, each behind its length. May be empty, as in the list entries that Go
    /// sends, though RFC 1035 asks for one string at least.
    Txt(&'a [u8]),
    /// A type that discovery has no use for, and its bytes.
    Other(u16, &'a [u8]),
}

/// Why a packet is no DNS message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(&'static str);

// ===== impl Message =====

impl<'a> Message<'a> {
    /// Reads a packet; bytes behind the last record are ignored.
    pub(super) fn parse(packet: &'a [u8]) -> Result<Message<'a>, Malformed> {
        let mut reader = Reader { packet, at: 0 };
        let id = reader.u16()?;
        let flags = reader.u16()?;
        let mut counts = [0_usize; 4];
        for count in &mut counts {
            *count = usize::from(reader.u16()?);
        }
        let [questions, answers, authorities, additionals] = counts;
        if counts.iter().sum::<usize>() > MAX_ITEMS {
            return Err(Malformed("more than 512 questions and records"));
        }
        let many = |reader: &mut Reader<'a>, count: usize| -> Result<Vec<_>, Malformed> {
            (0..count).map(|_| reader.record()).collect()
        };
        Ok(Message {
            id,
            flags,
            questions: (0..questions)
                .map(|_| reader.question())
                .collect::<Result<_, _>>()?,
            answers: many(&mut reader, answers)?,
            authorities: many(&mut reader, authorities)?,
            additionals: many(&mut reader, additionals)?,
        })
    }

    /// Writes the message. With `compress`, names point back to what was written before; the target of an
    /// SRV record is always written out, as RFC 2782 asks for, but may be pointed to.
    pub(super) fn write(&self, compress: bool) -> Vec<u8> {
        let mut writer = Writer {
            packet: Vec::with_capacity(512),
            seen: HashMap::new(),
            compress,
        };
        writer.u16(self.id);
        writer.u16(self.flags);
        let sections = [&self.answers, &self.authorities, &self.additionals];
        writer.count(self.questions.len());
        for section in sections {
            writer.count(section.len());
        }
        for question in &self.questions {
            writer.name(&question.name, compress);
            writer.u16(question.kind);
            writer.u16(question.class);
        }
        for record in sections.into_iter().flatten() {
            writer.record(record);
        }
        writer.packet
    }

    /// Whether it is a response rather than a query.
    pub(super) fn is_response(&self) -> bool {
        self.flags & RESPONSE != 0
    }

    /// Whether it is of a kind that mDNS knows; others are to be ignored without a word (RFC 6762 §18.3,
    /// §18.11).
    pub(super) fn is_mdns(&self) -> bool {
        self.flags & OPCODE_AND_RCODE == 0
    }
}

// ===== impl Question =====

impl Question {
    /// A question in the class IN.
    pub(super) fn new(name: Name, kind: u16) -> Question {
        Question {
            name,
            kind,
            class: IN,
        }
    }

    /// Whether it asks for records of this type.
    pub(super) fn asks_for(&self, kind: u16) -> bool {
        self.kind == kind || self.kind == ANY
    }
}

// ===== impl Record =====

impl Record<'_> {
    fn kind(&self) -> u16 {
        match self.data {
            Data::A(_) => A,
            Data::Aaaa(_) => AAAA,
            Data::Ptr(_) => PTR,
            Data::Srv { .. } => SRV,
            Data::Txt(_) => TXT,
            Data::Other(kind, _) => kind,
        }
    }

    /// Whether its class is IN, with or without the cache-flush bit.
    pub(super) fn is_internet(&self) -> bool {
        self.class & !CLASS_TOP_BIT == IN
    }
}

// ===== impl Malformed =====

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

// ===== impl Reader =====

/// A packet, and how far it has been read.
struct Reader<'a> {
    packet: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let bytes = self
            .at
            .checked_add(length)
            .and_then(|end| self.packet.get(self.at..end))
            .ok_or(Malformed("the packet ends early"))?;
        self.at += length;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let bytes = self.take(N)?;
        <[u8; N]>::try_from(bytes).map_err(|_| Malformed("the packet ends early"))
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn question(&mut self) -> Result<Question, Malformed> {
        Ok(Question {
            name: self.name()?,
            kind: self.u16()?,
            class: self.u16()?,
        })
    }

    fn record(&mut self) -> Result<Record<'a>, Malformed> {
        let name = self.name()?;
        let kind = self.u16()?;
        let class = self.u16()?;
        let ttl = self.u32()?;
        let length = usize::from(self.u16()?);
        let start = self.at;
        let bytes = self.take(length)?;
        let end = self.at;
        // Names in the data may point anywhere before them, so they are read from the whole packet.
        self.at = start;
        let data = match kind {
            A => Data::A(self.array::<4>()?.into()),
            AAAA => Data::Aaaa(self.array::<16>()?.into()),
            PTR => Data::Ptr(self.name()?),
            SRV => Data::Srv {
                priority: self.u16()?,
                weight: self.u16()?,
                port: self.u16()?,
                target: self.name()?,
            },
            TXT => Data::Txt(self.take(length)?),
            other => {
                self.at = end;
                Data::Other(other, bytes)
            }
        };
        if self.at != end {
            return Err(Malformed("a record's length does not match its data"));
        }
        Ok(Record {
            name,
            class,
            ttl,
            data,
        })
    }

    fn name(&mut self) -> Result<Name, Malformed> {
        let mut name = Name::default();
        let mut at = self.at;
        // Where reading goes on once a pointer has led elsewhere.
        let mut resume = None;
        // A pointer must point before the labels that led to it: each jump goes further back, so it ends.
        let mut floor = self.at;
        loop {
            let early = Malformed("a name runs past the end");
            let length = *self.packet.get(at).ok_or(early)?;
            match length >> 6 {
                0b00 if length == 0 => {
                    self.at = resume.unwrap_or(at + 1);
                    return Ok(name);
                }
                0b00 => {
                    let start = at + 1;
                    let end = start + usize::from(length);
                    let label = self.packet.get(start..end).ok_or(early)?;
                    name.push(label)
                        .map_err(|_| Malformed("a name is longer than 255 bytes"))?;
                    at = end;
                }
                0b11 => {
                    let low = *self.packet.get(at + 1).ok_or(early)?;
                    resume.get_or_insert(at + 2);
                    let target = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    if target >= floor {
                        return Err(Malformed("a name's pointer does not point back"));
                    }
                    floor = target;
                    at = target;
                }
                _ => return Err(Malformed("a label's type is unknown")),
            }
        }
    }
}

// ===== impl Writer =====

/// A packet as far as it has been written.
struct Writer {
    packet: Vec<u8>,
    /// Where the names written so far, and those they end with, begin.
    seen: HashMap<Vec<u8>, u16>,
    compress: bool,
}

impl Writer {
    fn u16(&mut self, value: u16) {
        self.packet.extend_from_slice(&value.to_be_bytes());
    }

    /// Our messages hold a handful of items, so the bound is never met.
    fn count(&mut self, count: usize) {
        self.u16(u16::try_from(count).unwrap_or(u16::MAX));
    }

    fn name(&mut self, name: &Name, compress: bool) {
        for (offset, rest) in name.suffixes() {
            if compress && let Some(at) = self.seen.get(rest) {
                self.u16(0xc000 | at);
                return;
            }
            let at = u16::try_from(self.packet.len()).ok();
            if self.compress
                && let Some(at) = at.filter(|at| *at <= MAX_POINTER)
            {
                self.seen.entry(rest.to_vec()).or_insert(at);
            }
            let label = rest.first().map_or(0, |length| 1 + usize::from(*length));
            let bytes = name.as_bytes().get(offset..offset + label);
            self.packet.extend_from_slice(bytes.unwrap_or_default());
        }
        self.packet.push(0);
    }

    fn record(&mut self, record: &Record<'_>) {
        self.name(&record.name, self.compress);
        self.u16(record.kind());
        self.u16(record.class);
        self.packet.extend_from_slice(&record.ttl.to_be_bytes());
        let length_at = self.packet.len();
        self.u16(0);
        match &record.data {
            Data::A(address) => self.packet.extend_from_slice(&address.octets()),
            Data::Aaaa(address) => self.packet.extend_from_slice(&address.octets()),
            Data::Ptr(name) => self.name(name, self.compress),
            Data::Srv {
                priority,
                weight,
                port,
                target,
            } => {
                self.u16(*priority);
                self.u16(*weight);
                self.u16(*port);
                self.name(target, false);
            }
            Data::Txt(bytes) | Data::Other(_, bytes) => self.packet.extend_from_slice(bytes),
        }
        let length = self.packet.len() - length_at - 2;
        // What is registered is kept below 60 KB, so that the length always fits.
        let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
        if let Some(slot) = self.packet.get_mut(length_at..length_at + 2) {
            slot.copy_from_slice(&length);
        }
    }
}
