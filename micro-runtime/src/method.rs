//! [`Method`]: what the generator says of one rpc, once, in a static.

use std::fmt;

use crate::codec::{Codec, CodecFor};

/// How many messages go each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MethodKind {
    /// One request, one reply.
    Unary,
    /// Many requests, one reply.
    ClientStreaming,
    /// One request, many replies.
    ServerStreaming,
    /// Many requests, many replies, in any order.
    Bidi,
}

/// Whether a call may be made twice, from the proto option `idempotency_level`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Idempotency {
    /// Not said: a call that may have been processed is never repeated by itself.
    #[default]
    Unknown,
    /// It reads only: safe to repeat.
    NoSideEffects,
    /// It may be repeated with the same result.
    Idempotent,
}

/// The type of a message, or of a field, as the registry shows it to other programs: a name, a type in Go's
/// words (`string`, `int64`, `[]uint8`, a message's name), and the fields of a message. At most three levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The field's name in the proto; of a message at the top, the message's.
    pub name: &'static str,
    /// Its type.
    pub kind: &'static str,
    /// The fields, of a message.
    pub fields: &'static [Shape],
    /// The proto's comment above it, of a message at the top; empty if there is none.
    pub comment: &'static str,
}

/// One way to call an rpc as plain HTTP, from the proto option `google.api.http`: what a gateway in front of
/// gRPC services has to know. This runtime's own server does not act on it.
///
/// The paths are templates as
/// [google/api/http.proto](https://github.com/googleapis/googleapis/blob/master/google/api/http.proto)
/// describes them; the generator has checked that they are well-formed and that the fields exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct HttpRule {
    /// The HTTP method: `GET`, `PUT`, `POST`, `DELETE`, `PATCH`, or the kind of a `custom` pattern as the proto
    /// spells it, where `*` stands for any.
    pub method: &'static str,
    /// The template of the path, such as `/v1/{name=orders/*}:cancel`.
    pub path: &'static str,
    /// The request's field that the HTTP body is, `*` for the whole request, empty if there is no body.
    pub body: &'static str,
    /// The reply's field that the HTTP body is; empty for the whole reply.
    pub response_body: &'static str,
}

// ===== impl Shape =====

impl Shape {
    /// The shape of a message at the top, with its comment.
    #[must_use]
    pub const fn message(
        name: &'static str,
        comment: &'static str,
        fields: &'static [Shape],
    ) -> Shape {
        Shape {
            name,
            kind: name,
            fields,
            comment,
        }
    }

    /// The shape of a field, without fields of its own.
    #[must_use]
    pub const fn field(name: &'static str, kind: &'static str) -> Shape {
        Shape::nested(name, kind, &[])
    }

    /// The shape of a field that is a message.
    #[must_use]
    pub const fn nested(name: &'static str, kind: &'static str, fields: &'static [Shape]) -> Shape {
        Shape {
            name,
            kind,
            fields,
            comment: "",
        }
    }

    const EMPTY: Shape = Shape::message("", "", &[]);
}

// ===== impl HttpRule =====

impl HttpRule {
    /// A rule without bodies.
    #[must_use]
    pub const fn new(method: &'static str, path: &'static str) -> HttpRule {
        HttpRule {
            method,
            path,
            body: "",
            response_body: "",
        }
    }

    /// The rule with the request's field that the HTTP body is.
    #[must_use]
    pub const fn body(mut self, field: &'static str) -> HttpRule {
        self.body = field;
        self
    }

    /// The rule with the reply's field that the HTTP body is.
    #[must_use]
    pub const fn response_body(mut self, field: &'static str) -> HttpRule {
        self.response_body = field;
        self
    }
}

/// What a method is, without the types of its messages.
#[derive(Clone, Copy, Debug)]
pub struct MethodInfo {
    pub(crate) kind: MethodKind,
    pub(crate) service: &'static str,
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    pub(crate) endpoint: &'static str,
    pub(crate) idempotency: Idempotency,
    pub(crate) deprecated: bool,
    pub(crate) comment: &'static str,
    pub(crate) http: &'static [HttpRule],
    pub(crate) request: &'static Shape,
    pub(crate) response: &'static Shape,
}

// ===== impl MethodInfo =====

impl MethodInfo {
    /// How many messages go each way.
    #[must_use]
    pub const fn kind(&self) -> MethodKind {
        self.kind
    }

    /// The full name of its service, such as `peer.v1.Peer`.
    #[must_use]
    pub const fn service(&self) -> &'static str {
        self.service
    }

    /// The rpc's name as in the proto.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The path on the wire, such as `/peer.v1.Peer/Unary`.
    #[must_use]
    pub const fn path(&self) -> &'static str {
        self.path
    }

    /// The endpoint's name in the registry, such as `Peer.Unary`.
    #[must_use]
    pub const fn endpoint(&self) -> &'static str {
        self.endpoint
    }

    /// Whether a call may be made twice.
    #[must_use]
    pub const fn idempotency(&self) -> Idempotency {
        self.idempotency
    }

    /// Whether the proto calls it deprecated.
    #[must_use]
    pub const fn is_deprecated(&self) -> bool {
        self.deprecated
    }

    /// The proto's comment above it; empty if there is none.
    #[must_use]
    pub const fn comment(&self) -> &'static str {
        self.comment
    }

    /// How to call it as plain HTTP, from the proto option `google.api.http`: the rule itself, then its additional
    /// bindings. Empty if the proto says none.
    #[must_use]
    pub const fn http(&self) -> &'static [HttpRule] {
        self.http
    }

    /// The type of its requests.
    #[must_use]
    pub const fn request(&self) -> &'static Shape {
        self.request
    }

    /// The type of its replies.
    #[must_use]
    pub const fn response(&self) -> &'static Shape {
        self.response
    }
}

/// One rpc: its names, its kind, and how its messages are written. Generated code holds one static of these
/// per rpc; clients and servers refer to it.
pub struct Method<Req: 'static, Rsp: 'static> {
    pub(crate) info: MethodInfo,
    pub(crate) request: Codec<Req>,
    pub(crate) response: Codec<Rsp>,
}

// ===== impl Method =====

impl<Req, Rsp> Method<Req, Rsp> {
    /// A method whose messages have the codecs of the marker `C`.
    #[must_use]
    pub const fn new<C: CodecFor<Req> + CodecFor<Rsp>>(
        kind: MethodKind,
        service: &'static str,
        name: &'static str,
        path: &'static str,
        endpoint: &'static str,
    ) -> Method<Req, Rsp> {
        Method {
            info: MethodInfo {
                kind,
                service,
                name,
                path,
                endpoint,
                idempotency: Idempotency::Unknown,
                deprecated: false,
                comment: "",
                http: &[],
                request: &Shape::EMPTY,
                response: &Shape::EMPTY,
            },
            request: <C as CodecFor<Req>>::CODEC,
            response: <C as CodecFor<Rsp>>::CODEC,
        }
    }

    /// Says whether a call may be made twice.
    #[must_use]
    pub const fn idempotency(mut self, idempotency: Idempotency) -> Self {
        self.info.idempotency = idempotency;
        self
    }

    /// Marks it deprecated.
    #[must_use]
    pub const fn deprecated(mut self) -> Self {
        self.info.deprecated = true;
        self
    }

    /// Keeps the proto's comment.
    #[must_use]
    pub const fn comment(mut self, comment: &'static str) -> Self {
        self.info.comment = comment;
        self
    }

    /// Keeps how to call it as plain HTTP, for gateways.
    #[must_use]
    pub const fn http(mut self, rules: &'static [HttpRule]) -> Self {
        self.info.http = rules;
        self
    }

    /// Keeps the types of its messages, for the registry.
    #[must_use]
    pub const fn shapes(mut self, request: &'static Shape, response: &'static Shape) -> Self {
        self.info.request = request;
        self.info.response = response;
        self
    }

    /// What it is, without the types of its messages.
    #[must_use]
    pub const fn info(&self) -> &MethodInfo {
        &self.info
    }
}

impl<Req, Rsp> fmt::Debug for Method<Req, Rsp> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Method").field(&self.info.path).finish()
    }
}
