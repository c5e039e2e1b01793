//! Heads that are handed over.

use bytes::Bytes;

use crate::exchange::{FieldName, FieldValue, Head, HeadBuilder, Line, OutFields, OutHead};

/// A request's head, as the server sees it; the error says what was wrong with it.
pub(super) fn request(head: &OutHead) -> Result<Head, String> {
    let Line::Request {
        verb,
        path,
        authority,
    } = &head.line
    else {
        return Err("expected a request's head, found a reply's".to_owned());
    };
    let text = |bytes: &Bytes, what| match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(format!("the {what} {bytes:?} cannot be sent: {error}")),
    };
    let (path, authority) = (text(path, "path")?, text(authority, "authority")?);
    if !path.starts_with('/') {
        return Err(format!(
            "the path {path:?} cannot be sent: expected a / first"
        ));
    }
    let size = path.len() + authority.len() + size(&head.fields);
    let builder = Head::request(*verb, &path, &authority, size);
    Ok(fill(builder, &head.fields))
}

/// A reply's head, as the client sees it.
pub(super) fn response(head: &OutHead) -> Head {
    let status = match head.line {
        Line::Status(status) => status,
        Line::Request { .. } => 500,
    };
    fill(Head::response(status, size(&head.fields)), &head.fields)
}

/// Trailers.
pub(super) fn trailers(fields: &OutFields) -> Head {
    fill(Head::trailers(size(fields)), fields)
}

/// About how many bytes the fields take.
fn size(fields: &OutFields) -> usize {
    let constant: usize = fields
        .constants()
        .iter()
        .map(|(_, value)| value.len())
        .sum();
    let others: usize = fields
        .others()
        .iter()
        .map(|(name, value)| {
            let name = match name {
                FieldName::Slot(_) => 0,
                FieldName::Text(text) => text.len(),
            };
            name + match value {
                FieldValue::Static(text) => text.len(),
                FieldValue::Bytes(bytes) => bytes.len(),
                FieldValue::Number(_) => 4,
            }
        })
        .sum();
    constant + others
}

fn fill(mut builder: HeadBuilder, fields: &OutFields) -> Head {
    for &(slot, value) in fields.constants() {
        builder.slot(slot, value.as_bytes());
    }
    for (name, value) in fields.others() {
        let number;
        let value = match value {
            FieldValue::Static(text) => text.as_bytes(),
            FieldValue::Bytes(bytes) => bytes,
            FieldValue::Number(value) => {
                number = value.to_string();
                number.as_bytes()
            }
        };
        match name {
            FieldName::Slot(slot) => builder.slot(*slot, value),
            FieldName::Text(text) => match std::str::from_utf8(text) {
                Ok(name) => builder.field(name, value),
                Err(_) => {
                    tracing::warn!("a field was not sent: its name is not a valid header name");
                }
            },
        }
    }
    builder.build()
}
