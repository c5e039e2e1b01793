//! Messages at random, of any type that there is a descriptor of.

use fastrand::Rng;
use prost_reflect::prost::Message as _;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value,
};

/// Makes messages.
pub(crate) struct Generator<'a> {
    pub(crate) rng: &'a mut Rng,
    /// What an `Any` may hold.
    pub(crate) types: &'a [MessageDescriptor],
    /// Whether NaN and infinities stay out of `FloatValue` and `DoubleValue`.
    pub(crate) finite_wrappers: bool,
}

// ===== impl Generator =====

impl Generator<'_> {
    /// A message with some of its fields set, and at most `depth` levels of others inside.
    pub(crate) fn message(&mut self, of: &MessageDescriptor, depth: u32) -> DynamicMessage {
        let mut message = DynamicMessage::new(of.clone());
        match of.full_name() {
            "google.protobuf.Timestamp" => {
                let seconds = self.within(-62_135_596_800, 253_402_300_799);
                self.time(&mut message, seconds, 1);
            }
            "google.protobuf.Duration" => {
                let seconds = self.within(-315_576_000_000, 315_576_000_000);
                let sign = match seconds.signum() {
                    0 => self.rng.i32(0..2) * 2 - 1,
                    sign => sign as i32,
                };
                self.time(&mut message, seconds, sign);
            }
            "google.protobuf.FieldMask" => {
                let paths = (0..self.rng.usize(0..4)).map(|_| Value::String(self.path()));
                message.set_field_by_name("paths", Value::List(paths.collect()));
            }
            "google.protobuf.FloatValue" | "google.protobuf.DoubleValue"
                if self.finite_wrappers =>
            {
                let quarter = f32::from(self.integer() as i16) / 4.0;
                let value = match of.full_name() {
                    "google.protobuf.FloatValue" => Value::F32(quarter),
                    _ => Value::F64(quarter.into()),
                };
                message.set_field_by_name("value", value);
            }
            "google.protobuf.Any" => self.any(&mut message, depth),
            "google.protobuf.Value" => self.value(&mut message, depth),
            _ => {
                let density = [2, 4, 12][self.rng.usize(0..3)];
                for field in of.fields() {
                    if self.rng.u32(0..density) == 0 {
                        self.field(&mut message, &field, depth);
                    }
                }
            }
        }
        message
    }

    fn field(&mut self, message: &mut DynamicMessage, field: &FieldDescriptor, depth: u32) {
        let deep = |kind: &Kind| matches!(kind, Kind::Message(_));
        if field.is_map() {
            let Kind::Message(entry) = field.kind() else {
                return;
            };
            let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
            if depth == 0 && deep(&value.kind()) {
                return;
            }
            let entries = (0..self.rng.usize(0..4)).map(|_| {
                let key = map_key(self.scalar(&key.kind()));
                (key, self.single(&value.kind(), depth))
            });
            let entries = entries.collect();
            message.set_field(field, Value::Map(entries));
        } else if depth == 0 && deep(&field.kind()) {
        } else if field.is_list() {
            let elements = (0..self.rng.usize(0..4)).map(|_| self.single(&field.kind(), depth));
            let elements = elements.collect();
            message.set_field(field, Value::List(elements));
        } else {
            let value = self.single(&field.kind(), depth);
            message.set_field(field, value);
        }
    }

    fn single(&mut self, kind: &Kind, depth: u32) -> Value {
        match kind {
            Kind::Message(of) => Value::Message(self.message(of, depth.saturating_sub(1))),
            kind => self.scalar(kind),
        }
    }

    fn scalar(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(self.integer() as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(self.integer() as i64),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(self.integer() as u32),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(self.integer()),
            Kind::Float => Value::F32(match self.rng.u32(0..3) {
                0 => f32::from_bits(self.rng.u32(..)),
                1 => self.integer() as i32 as f32 / 8.0,
                _ => *self.pick(&[
                    0.0,
                    -0.0,
                    f32::MAX,
                    f32::MIN,
                    f32::MIN_POSITIVE,
                    f32::from_bits(1),
                    f32::INFINITY,
                    f32::NAN,
                    0.1,
                    16_777_217.0,
                ]),
            }),
            Kind::Double => Value::F64(match self.rng.u32(0..3) {
                0 => f64::from_bits(self.rng.u64(..)),
                1 => self.integer() as i64 as f64 / 8.0,
                _ => *self.pick(&[
                    0.0,
                    -0.0,
                    f64::MAX,
                    f64::MIN,
                    f64::MIN_POSITIVE,
                    f64::from_bits(1),
                    f64::NEG_INFINITY,
                    f64::NAN,
                    0.1,
                    9_007_199_254_740_993.0,
                    1e21,
                    1e-7,
                ]),
            }),
            Kind::Bool => Value::Bool(self.rng.bool()),
            Kind::String => Value::String(self.string()),
            Kind::Bytes => {
                let bytes: Vec<u8> = (0..self.rng.usize(0..8)).map(|_| self.rng.u8(..)).collect();
                Value::Bytes(bytes.into())
            }
            Kind::Enum(of) if of.full_name() == "google.protobuf.NullValue" => Value::EnumNumber(0),
            Kind::Enum(of) => {
                let known = self.rng.usize(0..of.values().len() + 1);
                match of.values().nth(known) {
                    Some(value) => Value::EnumNumber(value.number()),
                    None => Value::EnumNumber(self.integer() as i32),
                }
            }
            Kind::Message(of) => Value::Message(DynamicMessage::new(of.clone())),
        }
    }

    fn integer(&mut self) -> u64 {
        match self.rng.u32(0..4) {
            0 => self.rng.u64(..),
            1 => self.rng.u64(0..200).wrapping_sub(100),
            2 => (1_u64 << self.rng.u32(0..64)).wrapping_sub(self.rng.u64(0..3)),
            _ => 10_u64.pow(self.rng.u32(0..20)),
        }
    }

    pub(crate) fn string(&mut self) -> String {
        let length = self.rng.usize(0..6);
        (0..length)
            .map(|_| match self.rng.u32(0..6) {
                0 => self.rng.char(..),
                1 => *self.pick(&[
                    '"', '\\', '/', '\n', '\0', '\u{1f}', '\u{7f}', '\u{2028}', '😀',
                ]),
                _ => self.rng.alphanumeric(),
            })
            .collect()
    }

    fn path(&mut self) -> String {
        let mut path = String::new();
        for index in 0..self.rng.usize(1..4) {
            if index > 0 {
                path.push(if self.rng.bool() { '.' } else { '_' });
            }
            path.push(self.rng.lowercase());
            path.push(self.rng.lowercase());
        }
        path
    }

    fn value(&mut self, message: &mut DynamicMessage, depth: u32) {
        let number = loop {
            let Value::F64(number) = self.scalar(&Kind::Double) else {
                continue;
            };
            if number.is_finite() {
                break number;
            }
        };
        let kinds = if depth == 0 { 4 } else { 6 };
        let (name, value) = match self.rng.u32(0..kinds) {
            0 => ("null_value", Value::EnumNumber(0)),
            1 => ("number_value", Value::F64(number)),
            2 => ("string_value", Value::String(self.string())),
            3 => ("bool_value", Value::Bool(self.rng.bool())),
            n => {
                let name = if n == 4 { "struct_value" } else { "list_value" };
                let Some(field) = message.descriptor().get_field_by_name(name) else {
                    return;
                };
                (name, self.single(&field.kind(), depth))
            }
        };
        message.set_field_by_name(name, value);
    }

    fn any(&mut self, message: &mut DynamicMessage, depth: u32) {
        let index = self.rng.usize(0..self.types.len());
        let of = self.types[index].clone();
        let inner = self.message(&of, depth.saturating_sub(1));
        let url = format!("type.googleapis.com/{}", of.full_name());
        message.set_field_by_name("type_url", Value::String(url));
        message.set_field_by_name("value", Value::Bytes(inner.encode_to_vec().into()));
    }

    fn within(&mut self, min: i64, max: i64) -> i64 {
        match self.rng.u32(0..4) {
            0 => min,
            1 => max,
            2 => self.rng.i64(-3..3),
            _ => self.rng.i64(min..=max),
        }
    }

    fn time(&mut self, message: &mut DynamicMessage, seconds: i64, sign: i32) {
        let nanos = match self.rng.u32(0..4) {
            0 => 0,
            1 => self.rng.i32(0..1_000) * 1_000_000,
            2 => self.rng.i32(0..1_000_000) * 1_000,
            _ => self.rng.i32(0..1_000_000_000),
        };
        message.set_field_by_name("seconds", Value::I64(seconds));
        message.set_field_by_name("nanos", Value::I32(nanos * sign));
    }

    pub(crate) fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.rng.usize(0..from.len())]
    }
}

fn map_key(value: Value) -> MapKey {
    match value {
        Value::I32(value) => MapKey::I32(value),
        Value::I64(value) => MapKey::I64(value),
        Value::U32(value) => MapKey::U32(value),
        Value::U64(value) => MapKey::U64(value),
        Value::Bool(value) => MapKey::Bool(value),
        Value::String(value) => MapKey::String(value),
        other => unreachable!("a map has no key such as {other:?}"),
    }
}
