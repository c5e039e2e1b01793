//! Messages that hold others in very many ways.
//!
//! In a chain of thirty messages each of which holds the next one twice, there are a billion ways from the first to
//! the last. The first would be a type of many gigabytes; and to find out whether it may derive `Copy` and `Eq`,
//! prost-build 0.14.4 walks through all that it holds, anew for each way (`context.rs`). Such a message is held in a
//! box, and derives neither, which ends the walk: it is given a field that could not, and the field is taken out of
//! the code.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto};

use super::super::types::{full_path, real_oneof};
use crate::descriptor::each_message;

/// The ways that a message may have. In all of Google's interfaces the most are 1,920.
const MOST: u64 = 10_000;

/// The field that derives neither.
const FIELD: &str = "micro_derives_neither";

/// A message on the way down.
struct Step<'g> {
    name: &'g str,
    /// Which of those it holds comes next.
    next: usize,
    /// The ways below it that are known.
    ways: u64,
}

/// The full names, with their dots, of the messages that have more ways than prost-build can walk.
///
/// What counts is what a message holds, and nothing else of the run: whoever generates it finds the same.
pub(crate) fn too_many<'f>(
    files: impl Iterator<Item = &'f FileDescriptorProto>,
) -> BTreeSet<String> {
    let mut held: HashMap<String, Vec<&str>> = HashMap::new();
    for file in files {
        each_message(file, &mut |full, _, message| {
            let fields = message.field.iter();
            let single = fields.filter(|field| {
                field.r#type() == Type::Message && field.label() != Label::Repeated
            });
            held.insert(
                full.to_owned(),
                single.map(|field| field.type_name()).collect(),
            );
        });
    }
    let mut found = BTreeSet::new();
    let mut ways: HashMap<&str, u64> = HashMap::new();
    for name in held.keys() {
        if ways.contains_key(name.as_str()) {
            continue;
        }
        let mut open = vec![Step {
            name,
            next: 0,
            ways: 1,
        }];
        // A message that holds itself derives neither anyway, and is not entered twice.
        ways.insert(name, 1);
        while let Some(step) = open.last_mut() {
            let below = held.get(step.name).and_then(|held| held.get(step.next));
            if let Some(below) = below {
                step.next += 1;
                match ways.get(below) {
                    Some(known) => step.ways = step.ways.saturating_add(*known),
                    None => {
                        ways.insert(below, 1);
                        // It is counted when it is done.
                        open.push(Step {
                            name: below,
                            next: 0,
                            ways: 1,
                        });
                    }
                }
                continue;
            }
            let (name, total) = (step.name, step.ways);
            let total = if total > MOST {
                found.insert(name.to_owned());
                1
            } else {
                total
            };
            ways.insert(name, total);
            open.pop();
            if let Some(above) = open.last_mut() {
                above.ways = above.ways.saturating_add(total);
            }
        }
    }
    found
}

/// The paths, as prost-build matches them, of the fields that hold one of these.
pub(crate) fn boxed<'f>(
    files: impl Iterator<Item = &'f FileDescriptorProto>,
    among: &BTreeSet<String>,
) -> Vec<String> {
    let mut paths = Vec::new();
    if among.is_empty() {
        return paths;
    }
    for file in files {
        each_message(file, &mut |full, _, message| {
            let fields = message.field.iter();
            let held = fields.filter(|field| {
                field.label() != Label::Repeated && among.contains(field.type_name())
            });
            paths.extend(held.map(|field| match real_oneof(message, field) {
                Some(oneof) => format!("{full}.{oneof}.{}", field.name()),
                None => format!("{full}.{}", field.name()),
            }));
        });
    }
    paths
}

/// Gives the messages of a file that are among these the field.
pub(crate) fn mark(file: &mut FileDescriptorProto, among: &BTreeSet<String>) {
    if among.is_empty() {
        return;
    }
    let prefix = full_path(file);
    for message in &mut file.message_type {
        mark_message(message, &prefix, among);
    }
}

fn mark_message(message: &mut DescriptorProto, prefix: &str, among: &BTreeSet<String>) {
    let full = format!("{prefix}.{}", message.name());
    for nested in &mut message.nested_type {
        mark_message(nested, &full, among);
    }
    if among.contains(&full) {
        let field = field(message);
        message.field.push(field);
    }
}

/// The field, with a number that is free.
pub(crate) fn field(message: &DescriptorProto) -> FieldDescriptorProto {
    // The largest number of a field is 2^29 - 1.
    let numbers = (1..1 << 29).rev();
    let is_free = |number: &i32| message.field.iter().all(|field| field.number() != *number);
    FieldDescriptorProto {
        name: Some(FIELD.to_owned()),
        number: { numbers }.find(is_free),
        label: Some(Label::Repeated.into()),
        r#type: Some(Type::Float.into()),
        ..FieldDescriptorProto::default()
    }
}

/// prost-build's code without the field.
pub(crate) fn unmark(text: String, among: &BTreeSet<String>) -> String {
    let declared = format!("pub {FIELD}:");
    if among.is_empty() || !text.contains(&declared) {
        return text;
    }
    let mut result = String::with_capacity(text.len());
    // The attributes of a field stand before it.
    let mut pending: Vec<Cow<'_, str>> = Vec::new();
    for line in text.split_inclusive('\n') {
        let inside = line.trim_start();
        if inside.starts_with(&declared) {
            pending.clear();
            continue;
        }
        pending.push(Cow::Borrowed(line));
        if inside.starts_with("pub ") || inside.starts_with('}') {
            result.extend(pending.drain(..));
        }
    }
    result.extend(pending);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of messages that each hold others: the name, and what it holds.
    fn file(messages: &[(String, Vec<String>)]) -> FileDescriptorProto {
        let message = |(name, holds): &(String, Vec<String>)| DescriptorProto {
            name: Some(name.clone()),
            field: (1..)
                .zip(holds)
                .map(|(number, of)| FieldDescriptorProto {
                    name: Some(format!("f{number}")),
                    number: Some(number),
                    label: Some(Label::Optional.into()),
                    r#type: Some(Type::Message.into()),
                    type_name: Some(format!(".p.{of}")),
                    ..FieldDescriptorProto::default()
                })
                .collect(),
            ..DescriptorProto::default()
        };
        FileDescriptorProto {
            package: Some("p".to_owned()),
            message_type: messages.iter().map(message).collect(),
            ..FileDescriptorProto::default()
        }
    }

    fn chain(length: usize, times: usize) -> FileDescriptorProto {
        let messages: Vec<_> = (0..length)
            .map(|index| (format!("M{index}"), vec![format!("M{}", index + 1); times]))
            .chain([(format!("M{length}"), Vec::new())])
            .collect();
        file(&messages)
    }

    #[test]
    fn ways_multiply_and_are_cut() {
        assert!(too_many([&chain(5000, 1)].into_iter()).is_empty());
        assert!(too_many([&chain(12, 2)].into_iter()).is_empty());
        // 2^13 - 1 ways from the twelfth above the last one, more than MOST from the next.
        let found = too_many([&chain(30, 2)].into_iter());
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [".p.M17", ".p.M4"]);
    }

    #[test]
    fn messages_that_hold_themselves_end() {
        let twice = |name: &str| vec![name.to_owned(); 2];
        let messages = [("A".to_owned(), twice("B")), ("B".to_owned(), twice("A"))];
        assert!(too_many([&file(&messages)].into_iter()).is_empty());
    }

    #[test]
    fn the_field_comes_and_goes() {
        let among = BTreeSet::from([".p.M0".to_owned()]);
        let mut file = chain(1, 1);
        if let Some(field) = file.message_type[0].field.first_mut() {
            field.number = Some((1 << 29) - 1);
        }
        mark(&mut file, &among);
        let numbers = file.message_type[0]
            .field
            .iter()
            .map(|field| field.number());
        assert_eq!(numbers.collect::<Vec<_>>(), [(1 << 29) - 1, (1 << 29) - 2]);
        assert_eq!(file.message_type[1].field.len(), 0);

        let text = "pub struct M0 {\n    #[a]\n    pub f: u8,\n    #[b]\n    #[c]\n    pub \
                    micro_derives_neither: Vec<f32>,\n    #[d]\n    pub g: u8,\n}\n";
        let expected = "pub struct M0 {\n    #[a]\n    pub f: u8,\n    #[d]\n    pub g: u8,\n}\n";
        assert_eq!(unmark(text.to_owned(), &among), expected);
    }
}
