//! The values of fields that are not set, against those of another implementation.

use super::proto::constructs::defaults::{
    Blobs, Enums, Floats, Integers, Own, Required, Texts, enums,
};
use super::proto::constructs::other::{Shade, outer};

/// Message, field and default, with tabs between them: numbers, and in hex the bits of floats and the bytes of
/// texts. `vectors/editions.py` made them with Python's protobuf.
const DEFAULTS: &str = include_str!("../../vectors/defaults.tsv");

/// A value as the vectors have it.
trait Plain {
    fn plain(&self) -> String;
}

macro_rules! plain {
    ($($type:ty: $value:ident => $text:expr;)*) => {
        $(impl Plain for $type {
            fn plain(&self) -> String {
                let $value = self;
                $text
            }
        })*
    };
}

plain! {
    bool: value => value.to_string();
    i32: value => value.to_string();
    i64: value => value.to_string();
    u32: value => value.to_string();
    u64: value => value.to_string();
    f32: value => if value.is_nan() { "nan".into() } else { format!("{:08x}", value.to_bits()) };
    f64: value => if value.is_nan() { "nan".into() } else { format!("{:016x}", value.to_bits()) };
    [u8]: value => value.iter().map(|byte| format!("{byte:02x}")).collect();
    str: value => value.as_bytes().plain();
    Own: value => (*value as i32).to_string();
    Shade: value => (*value as i32).to_string();
    enums::Nested: value => (*value as i32).to_string();
    outer::Inner: value => (*value as i32).to_string();
}

impl<T: Plain + ?Sized> Plain for &T {
    fn plain(&self) -> String {
        (**self).plain()
    }
}

macro_rules! functions {
    ($found:ident, $message:ident: $($field:ident)*) => {
        let message = $message::default();
        $($found.push((stringify!($message), stringify!($field), message.$field().plain()));)*
    };
}

#[test]
fn unset_fields_have_their_defaults() {
    let mut found = Vec::new();
    functions!(found, Blobs: empty escapes text quotes spaces all);
    functions!(found, Enums: unset first alias old keyword digit shade below inner nested);
    functions!(found, Floats: float_inf float_minus_inf float_nan float_minus_nan float_minus_zero float_huge float_tiny float_exact float_whole float_minus float_max float_point float_integer double_inf double_minus_inf double_nan double_minus_nan double_minus_zero double_huge double_tiny double_exact double_whole double_minus double_max double_big_integer double_integer double_octal);
    functions!(found, Integers: int32_min int32_max int64_min int64_max uint32_max uint64_max sint32_min sint64_min fixed32_hex fixed64_octal sfixed32_minus sfixed64_minus zero minus_zero yes no);
    functions!(found, Texts: empty escapes quotes parts spaces number word raw byte_string trigraph);
    let required = Required::default();
    let mut field = |name, value: &dyn Plain| found.push(("Required", name, value.plain()));
    field("number", &required.number);
    field("text", &required.text.as_str());
    field("blob", &required.blob.as_ref());
    field("own", &required.own);
    field("nan", &required.nan);
    field("yes", &required.yes);
    field("unset", &required.unset);
    field("shade", &required.shade);
    field("minus_zero", &required.minus_zero);

    found.sort();
    let found: Vec<String> = found
        .iter()
        .map(|(message, field, value)| format!("{message}\t{field}\t{value}"))
        .collect();
    let lines = DEFAULTS.lines().filter(|line| !line.starts_with('#'));
    let mut expected: Vec<&str> = lines.collect();
    expected.sort_by_key(|line| line.splitn(3, '\t').take(2).collect::<Vec<_>>());
    assert_eq!(found, expected);
}
