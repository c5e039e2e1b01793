//! Heads: what stands before the messages of an exchange, in a form that no engine owns.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

/// The HTTP method of a request, as far as RPC asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `GET`
    Get,
    /// `POST`
    Post,
    /// `OPTIONS`
    Options,
    /// Any other.
    Other,
}

/// The headers that protocols ask for, each in a fixed place of a [`Head`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Slot {
    /// `content-type`
    ContentType,
    /// `content-encoding`
    ContentEncoding,
    /// `accept-encoding`
    AcceptEncoding,
    /// `content-length`
    ContentLength,
    /// `te`
    Te,
    /// `user-agent`
    UserAgent,
    /// `grpc-timeout`
    GrpcTimeout,
    /// `grpc-encoding`
    GrpcEncoding,
    /// `grpc-accept-encoding`
    GrpcAcceptEncoding,
    /// `grpc-status`
    GrpcStatus,
    /// `grpc-message`
    GrpcMessage,
    /// `grpc-status-details-bin`
    GrpcDetails,
    /// `timeout`: go-micro's, in nanoseconds.
    Timeout,
    /// `x-content-type`: sent by go-micro's clients and by nobody else.
    XContentType,
    /// `connect-timeout-ms`
    ConnectTimeout,
    /// `connect-protocol-version`
    ConnectProtocol,
}

// ===== impl Slot =====

impl Slot {
    /// How many there are.
    pub const COUNT: usize = 16;

    /// Every slot, in the order of its number.
    pub const ALL: [Slot; Slot::COUNT] = [
        Slot::ContentType,
        Slot::ContentEncoding,
        Slot::AcceptEncoding,
        Slot::ContentLength,
        Slot::Te,
        Slot::UserAgent,
        Slot::GrpcTimeout,
        Slot::GrpcEncoding,
        Slot::GrpcAcceptEncoding,
        Slot::GrpcStatus,
        Slot::GrpcMessage,
        Slot::GrpcDetails,
        Slot::Timeout,
        Slot::XContentType,
        Slot::ConnectTimeout,
        Slot::ConnectProtocol,
    ];

    /// The header's name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Slot::ContentType => "content-type",
            Slot::ContentEncoding => "content-encoding",
            Slot::AcceptEncoding => "accept-encoding",
            Slot::ContentLength => "content-length",
            Slot::Te => "te",
            Slot::UserAgent => "user-agent",
            Slot::GrpcTimeout => "grpc-timeout",
            Slot::GrpcEncoding => "grpc-encoding",
            Slot::GrpcAcceptEncoding => "grpc-accept-encoding",
            Slot::GrpcStatus => "grpc-status",
            Slot::GrpcMessage => "grpc-message",
            Slot::GrpcDetails => "grpc-status-details-bin",
            Slot::Timeout => "timeout",
            Slot::XContentType => "x-content-type",
            Slot::ConnectTimeout => "connect-timeout-ms",
            Slot::ConnectProtocol => "connect-protocol-version",
        }
    }

    /// The slot of a header name, which must be in lower case.
    #[must_use]
    pub fn of(name: &str) -> Option<Slot> {
        // By length first: most names of other headers are turned away without a comparison of text.
        let candidates: &[Slot] = match name.len() {
            2 => &[Slot::Te],
            7 => &[Slot::Timeout],
            10 => &[Slot::UserAgent],
            11 => &[Slot::GrpcStatus],
            12 => &[Slot::ContentType, Slot::GrpcTimeout, Slot::GrpcMessage],
            13 => &[Slot::GrpcEncoding],
            14 => &[Slot::ContentLength, Slot::XContentType],
            15 => &[Slot::AcceptEncoding],
            16 => &[Slot::ContentEncoding],
            18 => &[Slot::ConnectTimeout],
            20 => &[Slot::GrpcAcceptEncoding],
            23 => &[Slot::GrpcDetails],
            24 => &[Slot::ConnectProtocol],
            _ => &[],
        };
        candidates.iter().copied().find(|slot| slot.name() == name)
    }
}

#[derive(Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

// ===== impl Span =====

impl Span {
    /// Nothing is there: an empty value is a value, and absence needs a mark of its own.
    const ABSENT: Span = Span {
        start: u32::MAX,
        end: u32::MAX,
    };

    fn is_present(self) -> bool {
        self.start != u32::MAX
    }
}

/// The head that a peer sent: a request's, a reply's, or trailers. One block of bytes, and where each part
/// of it lies.
#[derive(Clone)]
pub struct Head {
    verb: Verb,
    status: u16,
    block: Bytes,
    path: Span,
    authority: Span,
    slots: [Span; Slot::COUNT],
    rest: Vec<(Span, Span)>,
}

// ===== impl Head =====

impl Head {
    /// Begins a request's head; `capacity` is a guess of its bytes.
    #[must_use]
    pub fn request(verb: Verb, path: &str, authority: &str, capacity: usize) -> HeadBuilder {
        let mut builder = HeadBuilder::new(verb, 0, capacity.max(path.len() + authority.len()));
        builder.head.path = builder.put(path.as_bytes());
        builder.head.authority = builder.put(authority.as_bytes());
        builder
    }

    /// Begins a reply's head.
    #[must_use]
    pub fn response(status: u16, capacity: usize) -> HeadBuilder {
        HeadBuilder::new(Verb::Other, status, capacity)
    }

    /// Begins trailers.
    #[must_use]
    pub fn trailers(capacity: usize) -> HeadBuilder {
        HeadBuilder::new(Verb::Other, 0, capacity)
    }

    /// A request's method.
    #[must_use]
    pub fn verb(&self) -> Verb {
        self.verb
    }

    /// A request's path, with its query; empty on other heads.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text(self.path)
    }

    /// A request's authority; empty if it had none.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.text(self.authority)
    }

    /// A reply's HTTP status; 0 on other heads.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The first value of one of the fixed headers.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&[u8]> {
        let span = self.slots[slot as usize];
        span.is_present().then(|| self.bytes(span))
    }

    /// The same as text; `None` if it is absent or not UTF-8.
    #[must_use]
    pub fn get_str(&self, slot: Slot) -> Option<&str> {
        std::str::from_utf8(self.get(slot)?).ok()
    }

    /// Every other header, in order, repeats kept; also repeats of the fixed ones.
    pub fn rest(&self) -> impl ExactSizeIterator<Item = (&str, &[u8])> {
        self.rest
            .iter()
            .map(|&(name, value)| (self.text(name), self.bytes(value)))
    }

    /// The same, with values that share the head's memory.
    pub fn rest_shared(&self) -> impl ExactSizeIterator<Item = (&str, Bytes)> {
        self.rest.iter().map(|&(name, value)| {
            let range = value.start as usize..value.end as usize;
            (self.text(name), self.block.slice(range))
        })
    }

    fn bytes(&self, span: Span) -> &[u8] {
        self.block
            .get(span.start as usize..span.end as usize)
            .unwrap_or_default()
    }

    fn text(&self, span: Span) -> &str {
        // Only text was put where text is read; the fall-back keeps this free of panics.
        std::str::from_utf8(self.bytes(span)).unwrap_or_default()
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Head");
        if self.path.is_present() {
            out.field("verb", &self.verb).field("path", &self.path());
        }
        if self.status != 0 {
            out.field("status", &self.status);
        }
        // Names only: values may be credentials.
        let mut names: Vec<&str> = self.rest().map(|(name, _)| name).collect();
        for slot in Slot::ALL {
            if self.get(slot).is_some() {
                names.push(slot.name());
            }
        }
        out.field("fields", &names).finish()
    }
}

/// Fills a [`Head`], field by field.
#[derive(Debug)]
pub struct HeadBuilder {
    head: Head,
    block: BytesMut,
}

// ===== impl HeadBuilder =====

impl HeadBuilder {
    fn new(verb: Verb, status: u16, capacity: usize) -> HeadBuilder {
        HeadBuilder {
            head: Head {
                verb,
                status,
                block: Bytes::new(),
                path: Span::ABSENT,
                authority: Span::ABSENT,
                slots: [Span::ABSENT; Slot::COUNT],
                rest: Vec::new(),
            },
            block: BytesMut::with_capacity(capacity),
        }
    }

    /// Adds a field; its name must be in lower case.
    pub fn field(&mut self, name: &str, value: &[u8]) {
        match Slot::of(name) {
            Some(slot) => self.slot(slot, value),
            None => self.other(name, value),
        }
    }

    /// Adds one of the fixed fields.
    pub fn slot(&mut self, slot: Slot, value: &[u8]) {
        if self.head.slots[slot as usize].is_present() {
            self.other(slot.name(), value);
        } else {
            self.head.slots[slot as usize] = self.put(value);
        }
    }

    fn other(&mut self, name: &str, value: &[u8]) {
        let name = self.put(name.as_bytes());
        let value = self.put(value);
        self.head.rest.push((name, value));
    }

    fn put(&mut self, bytes: &[u8]) -> Span {
        let start = self.block.len();
        self.block.put_slice(bytes);
        // Every engine limits a head to far less than 4 GiB; a longer one loses its last fields.
        match (u32::try_from(start), u32::try_from(self.block.len())) {
            (Ok(start), Ok(end)) => Span { start, end },
            _ => Span::ABSENT,
        }
    }

    /// The head.
    #[must_use]
    pub fn build(mut self) -> Head {
        self.head.block = self.block.freeze();
        self.head
    }
}

/// The first line of a head that goes out.
#[derive(Clone, Debug)]
pub enum Line {
    /// A request. Path and authority are computed once per method and node, and shared.
    Request {
        /// The method.
        verb: Verb,
        /// The path, with its query.
        path: Bytes,
        /// The authority.
        authority: Bytes,
    },
    /// A reply, with its HTTP status.
    Status(u16),
}

/// A head that goes out.
#[derive(Clone, Debug)]
pub struct OutHead {
    /// Its first line.
    pub line: Line,
    /// Its fields.
    pub fields: OutFields,
}

/// The name of a field that goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldName {
    /// One of the fixed ones.
    Slot(Slot),
    /// Any other; in lower case, and valid: checked where it was taken from the user.
    Text(Bytes),
}

/// The value of a field that goes out; valid: checked where it was taken from the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldValue {
    /// A constant.
    Static(&'static str),
    /// Anything else.
    Bytes(Bytes),
    /// A number, in decimal.
    Number(u64),
}

/// The fields of a head or of trailers that go out: constant ones by reference, then the others in order.
/// With constant ones alone it allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct OutFields {
    constant: &'static [(Slot, &'static str)],
    own: Vec<(FieldName, FieldValue)>,
}

// ===== impl OutFields =====

impl OutFields {
    /// These constant fields.
    #[must_use]
    pub const fn constant(fields: &'static [(Slot, &'static str)]) -> OutFields {
        OutFields {
            constant: fields,
            own: Vec::new(),
        }
    }

    /// Adds one of the fixed fields.
    pub fn slot(&mut self, slot: Slot, value: FieldValue) {
        self.own.push((FieldName::Slot(slot), value));
    }

    /// Adds any other field; the name must be in lower case.
    pub fn text(&mut self, name: Bytes, value: FieldValue) {
        self.own.push((FieldName::Text(name), value));
    }

    /// The constant ones.
    #[must_use]
    pub fn constants(&self) -> &'static [(Slot, &'static str)] {
        self.constant
    }

    /// The others.
    #[must_use]
    pub fn others(&self) -> &[(FieldName, FieldValue)] {
        &self.own
    }

    /// The number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.constant.len() + self.own.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_know_their_names() {
        for (number, slot) in Slot::ALL.into_iter().enumerate() {
            assert_eq!(slot as usize, number);
            assert_eq!(Slot::of(slot.name()), Some(slot));
        }
        assert_eq!(Slot::of("content-typo"), None);
        assert_eq!(Slot::of(""), None);
    }

    #[test]
    fn a_head_keeps_order_and_repeats() {
        let mut builder = Head::request(Verb::Post, "/a.B/C", "host:1", 16);
        builder.field("content-type", b"application/grpc");
        builder.field("x-a", b"1");
        builder.field("content-type", b"second");
        builder.field("x-a", b"");
        let head = builder.build();
        assert_eq!(head.path(), "/a.B/C");
        assert_eq!(head.authority(), "host:1");
        assert_eq!(head.get_str(Slot::ContentType), Some("application/grpc"));
        assert_eq!(head.get(Slot::Te), None);
        let rest = head.rest().collect::<Vec<_>>();
        let expected: Vec<(&str, &[u8])> =
            vec![("x-a", b"1"), ("content-type", b"second"), ("x-a", b"")];
        assert_eq!(rest, expected);
    }

    #[test]
    fn an_empty_value_is_present() {
        let mut builder = Head::trailers(0);
        builder.slot(Slot::GrpcMessage, b"");
        assert_eq!(builder.build().get(Slot::GrpcMessage), Some(&b""[..]));
    }

    #[test]
    fn debug_prints_no_values() {
        let mut builder = Head::request(Verb::Post, "/a", "b", 0);
        builder.field("authorization", b"s3cret");
        let text = format!("{:?}", builder.build());
        assert!(text.contains("authorization") && !text.contains("s3cret"));
    }
}
