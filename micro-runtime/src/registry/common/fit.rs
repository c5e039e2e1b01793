//! [`fit`]: a service's endpoints where a registry has little room for them.

use std::fmt;

use crate::registry::{Endpoint, keys};

/// What is in an endpoint's metadata for people alone.
const COMMENTS: [&str; 3] = [
    keys::DESCRIPTION,
    keys::REQUEST_DESCRIPTION,
    keys::RESPONSE_DESCRIPTION,
];

/// What of a service's endpoints had no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LeftOut {
    /// Nothing.
    Nothing,
    /// The comments of the endpoints and of their messages.
    Comments,
    /// Those, and the fields of the endpoints' messages; the messages' names are there.
    Values,
    /// The endpoints.
    Endpoints,
}

/// How much room there is, in bytes of what is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// With the details, which are the comments and the messages' fields.
    pub(crate) details: usize,
    /// At all.
    pub(crate) all: usize,
}

/// Leaves out what it takes, and no more, for the endpoints to be written: `write` gives what it has written if
/// that has at most so many bytes. `None` if it cannot be without any endpoint.
pub(crate) fn fit<T>(
    mut endpoints: Vec<Endpoint>,
    room: Room,
    mut write: impl FnMut(&[Endpoint], usize) -> Option<T>,
) -> Option<(T, LeftOut)> {
    let mut left_out = LeftOut::Nothing;
    for step in [
        LeftOut::Nothing,
        LeftOut::Comments,
        LeftOut::Values,
        LeftOut::Endpoints,
    ] {
        if step.leave_out(&mut endpoints) {
            left_out = step;
        }
        let limit = if step < LeftOut::Values {
            room.details
        } else {
            room.all
        };
        if let Some(written) = write(&endpoints, limit) {
            return Some((written, left_out));
        }
    }
    None
}

// ===== impl LeftOut =====

impl LeftOut {
    /// Takes it out of the endpoints; false if there was nothing of the kind.
    fn leave_out(self, endpoints: &mut Vec<Endpoint>) -> bool {
        let mut dropped = false;
        match self {
            LeftOut::Nothing => {}
            LeftOut::Comments => {
                for endpoint in endpoints {
                    for key in COMMENTS {
                        dropped |= endpoint.metadata.remove(key).is_some();
                    }
                }
            }
            LeftOut::Values => {
                for endpoint in endpoints {
                    let messages = [&mut endpoint.request, &mut endpoint.response];
                    for value in messages.into_iter().flatten() {
                        dropped |= !value.values.is_empty();
                        value.values.clear();
                    }
                }
            }
            LeftOut::Endpoints => {
                dropped = !endpoints.is_empty();
                endpoints.clear();
            }
        }
        dropped
    }

    /// Says in the log what is left out of this service, and where.
    pub(crate) fn tell(self, service: &str, place: &str, room: Room) {
        let limit = match self {
            LeftOut::Nothing => return,
            LeftOut::Comments | LeftOut::Values => room.details,
            LeftOut::Endpoints => room.all,
        } / 1024;
        // Nobody misses a comment but who reads it, and every longer service has some.
        if self == LeftOut::Comments {
            tracing::debug!(
                service,
                "{self} are left out in {place}, with them there are more than {limit} KB"
            );
        } else {
            tracing::warn!(
                service,
                "{self} are left out in {place}, with them there are more than {limit} KB"
            );
        }
    }
}

/// In the words of a log line.
impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LeftOut::Nothing => "Nothing",
            LeftOut::Comments => "The comments of the endpoints",
            LeftOut::Values => "The fields of the endpoints' messages",
            LeftOut::Endpoints => "The endpoints",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Value;

    const ROOM: Room = Room {
        details: 100,
        all: 200,
    };

    /// An endpoint of so many bytes, of comments and of a message's fields.
    fn endpoint(name: usize, comments: usize, fields: usize) -> Endpoint {
        let field = Value {
            name: "f".repeat(fields),
            ..Value::default()
        };
        Endpoint {
            name: "n".repeat(name),
            request: Some(Value {
                values: vec![field; fields.min(1)],
                ..Value::default()
            }),
            metadata: [(keys::DESCRIPTION.to_owned(), "c".repeat(comments))]
                .into_iter()
                .filter(|_| comments > 0)
                .collect(),
            ..Endpoint::default()
        }
    }

    /// What is left out of an endpoint where there are so many bytes already, and how many are written.
    fn fitted(other: usize, endpoint: Endpoint) -> Option<(usize, LeftOut)> {
        fit(vec![endpoint], ROOM, |endpoints, limit| {
            let length = |endpoint: &Endpoint| {
                let comments = endpoint.metadata.values().map(String::len);
                let fields = endpoint.request.iter().flat_map(|value| &value.values);
                endpoint.name.len()
                    + comments.sum::<usize>()
                    + fields.map(|field| field.name.len()).sum::<usize>()
            };
            let length = other + endpoints.iter().map(length).sum::<usize>();
            (length <= limit).then_some(length)
        })
    }

    #[test]
    fn no_more_is_left_out_than_it_takes() {
        use LeftOut::{Comments, Endpoints, Nothing, Values};
        for (other, parts, expected) in [
            (0, (10, 10, 10), Some((30, Nothing))),
            (0, (10, 80, 20), Some((30, Comments))),
            (0, (10, 10, 90), Some((100, Comments))),
            (0, (10, 10, 91), Some((10, Values))),
            (0, (10, 0, 91), Some((10, Values))),
            (0, (150, 10, 10), Some((150, Values))),
            (0, (201, 10, 10), Some((0, Endpoints))),
            (150, (10, 0, 0), Some((160, Nothing))),
            (201, (1, 1, 1), None),
        ] {
            let (name, comments, fields) = parts;
            let found = fitted(other, endpoint(name, comments, fields));
            assert_eq!(found, expected, "{other} {parts:?}");
        }
    }
}
