//! Changes to a JSON text that may or may not leave it a message.

use fastrand::Rng;

use crate::text::Json;

/// Numbers that readers get wrong.
const NUMBERS: &[&str] = &[
    "0",
    "-0",
    "0.0",
    "-0.0",
    "1.0",
    "1e2",
    "1E+2",
    "-1.50e1",
    "100e-2",
    "0.5",
    "1e-1",
    "1e20",
    "1e-400",
    "1e308",
    "1.8e308",
    "0e999999999999999999999",
    "2147483647",
    "2147483648",
    "-2147483648",
    "-2147483649",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9007199254740993.0",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "1.8446744073709551615e19",
    "3.4028234663852886e38",
    "3.4028235677973362e38",
    "3.4028235677973366e38",
    "1.00000005960464477539062500001",
    "1.401298464324817e-45",
    "7e-46",
    "123456789012345678901234567890",
    // Not JSON.
    "01",
    "+1",
    "1.",
    ".5",
    "1e",
    "0x10",
    "NaN",
    "- 1",
];

/// Strings that mean something somewhere.
const STRINGS: &[&str] = &[
    "",
    " ",
    "null",
    "true",
    "NaN",
    "Infinity",
    "-Infinity",
    "+Infinity",
    "inf",
    "nan",
    "1e400",
    " 1",
    "1 ",
    "AQI=",
    "AQI",
    "-_",
    "+/",
    "A",
    "A===",
    "NULL_VALUE",
    "COLOR_RED",
    "COLOR_CRIMSON",
    "COLOR_MAUVE",
    "SHAPE_LONG",
    "a,,b",
    ",",
    "a.bC,d",
    "a_b",
    "aB1.C",
    "1972-06-30T23:59:60Z",
    "2026-01-31T09:00:00.1234567891Z",
    "2026-01-31T09:00:00+24:00",
    "2026-01-31T09:00:00.5-23:59",
    "2026-02-29T09:00:00Z",
    "2024-02-29T24:00:00Z",
    "0001-01-01T00:00:00+00:01",
    "0000-12-31T23:59:59Z",
    "9999-12-31T23:59:59.999999999Z",
    "9999-12-31T23:59:59-00:01",
    "2026-01-31t09:00:00z",
    "2026-01-31 09:00:00Z",
    "2026-01-31T09:00:00",
    "2026-01-31T09:00:00.Z",
    "1s",
    "-0.5s",
    "1.s",
    ".5s",
    "s",
    "-s",
    "+1s",
    "01s",
    "1.0000000001s",
    "315576000000.999999999s",
    "315576000001s",
    "1S",
    "type.googleapis.com/json_test.v1.Scalars",
    "type.googleapis.com/google.protobuf.Empty",
    "json_test.v1.Scalars",
    "/json_test.v1.None",
    "a/b/google.protobuf.Timestamp",
    "type.googleapis.com/",
];

/// Makes changes.
pub(crate) struct Mutator<'a> {
    pub(crate) rng: &'a mut Rng,
    /// The names of fields.
    pub(crate) names: &'a [String],
}

// ===== impl Mutator =====

impl Mutator<'_> {
    /// Changes one place.
    pub(crate) fn change(&mut self, json: &mut Json) {
        let index = self.rng.usize(0..json.size());
        let some = self.anything();
        let name = match self.rng.u32(0..4) {
            0 => "@type".to_owned(),
            1 => "value".to_owned(),
            _ => self.names[self.rng.usize(0..self.names.len())].clone(),
        };
        let Some(place) = json.at(index) else { return };
        match (place, self.rng.u32(0..10)) {
            (place, 0) => *place = some,
            (place, 1) => *place = Json::List(vec![place.clone()]),
            (place, 2) => *place = Json::Null,
            (Json::Number(text), n) => {
                *text = match n {
                    3 => format!("{text}.0"),
                    4 => format!("{text}e0"),
                    5 => format!("-{text}"),
                    6 => format!("{text}0"),
                    7 => format!("{text}.00E+00"),
                    _ => NUMBERS[self.rng.usize(0..NUMBERS.len())].to_owned(),
                }
            }
            (place @ Json::String(_), 3) => {
                // Out of its quotes.
                if let Json::String(text) = place.clone() {
                    *place = Json::Number(if text.is_empty() {
                        "0".to_owned()
                    } else {
                        text
                    });
                }
            }
            (Json::String(text), n) => self.change_string(text, n),
            (Json::List(elements), n) => {
                let at = self.rng.usize(0..elements.len() + 1);
                match n {
                    3 | 4 if at < elements.len() => drop(elements.remove(at)),
                    5 if at < elements.len() => elements.push(elements[at].clone()),
                    _ => elements.insert(at, some),
                }
            }
            (Json::Object(members), n) => self.change_members(members, n, name, some),
            (place, _) => *place = some,
        }
    }

    fn change_string(&mut self, text: &mut String, kind: u32) {
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let place = match places.len() {
            0 => 0,
            count => places[self.rng.usize(0..count)],
        };
        match kind {
            4 => *text = NUMBERS[self.rng.usize(0..NUMBERS.len())].to_owned(),
            5 if !text.is_empty() => drop(text.remove(place)),
            6 => text.insert(
                place,
                [' ', '0', '9', '-', '_', '.', 'Z', 'e', 'ä'][self.rng.usize(0..9)],
            ),
            7 => text.truncate(place),
            8 if !text.is_empty() => {
                text.remove(place);
                text.insert(
                    place,
                    ['0', '1', '9', '+', ':', 'T', '/', 'a'][self.rng.usize(0..8)],
                );
            }
            _ => *text = STRINGS[self.rng.usize(0..STRINGS.len())].to_owned(),
        }
    }

    fn change_members(
        &mut self,
        members: &mut Vec<(String, Json)>,
        kind: u32,
        name: String,
        some: Json,
    ) {
        let at = self.rng.usize(0..members.len() + 1);
        let place = self.rng.usize(0..members.len() + 1);
        match kind {
            3 if at < members.len() => drop(members.remove(at)),
            4 if at < members.len() => members.insert(place, members[at].clone()),
            5 if at < members.len() => members.insert(place, (members[at].0.clone(), some)),
            6 if at < members.len() => members[at].0 = other_spelling(&members[at].0),
            7 if at < members.len() => members[at].0 = name,
            8 if at < members.len() => {
                let member = members.remove(at);
                members.insert(place.min(members.len()), member);
            }
            _ => members.insert(at, (name, some)),
        }
    }

    fn anything(&mut self) -> Json {
        match self.rng.u32(0..9) {
            0 => Json::Null,
            1 => Json::Bool(self.rng.bool()),
            2 | 3 => Json::Number(NUMBERS[self.rng.usize(0..NUMBERS.len())].to_owned()),
            4 => Json::String(NUMBERS[self.rng.usize(0..NUMBERS.len())].to_owned()),
            5 => Json::String(STRINGS[self.rng.usize(0..STRINGS.len())].to_owned()),
            6 => Json::List(Vec::new()),
            7 => Json::Object(Vec::new()),
            _ => self.deep(),
        }
    }

    /// The same inside of itself, about as often as may be.
    fn deep(&mut self) -> Json {
        let levels = [2, 30, 97, 98, 99, 100, 101, 102, 130][self.rng.usize(0..9)];
        let key = ["parent", "boxed", "value", "any", "a"][self.rng.usize(0..5)];
        let lists = self.rng.bool();
        let mut json = if self.rng.bool() {
            Json::Object(Vec::new())
        } else {
            Json::Null
        };
        for _ in 0..levels {
            json = match lists {
                true => Json::List(vec![json]),
                false => Json::Object(vec![(key.to_owned(), json)]),
            };
        }
        json
    }
}

/// `fooBar` for `foo_bar`, and the other way round.
fn other_spelling(name: &str) -> String {
    let mut other = String::new();
    let mut upper = false;
    for char in name.chars() {
        match char {
            '_' => upper = true,
            'A'..='Z' => other.extend(['_', char.to_ascii_lowercase()]),
            char if upper => {
                other.push(char.to_ascii_uppercase());
                upper = false;
            }
            char => other.push(char),
        }
    }
    other
}

/// What JSON is made of, and what it is not.
const BYTES: &[u8] = b"{}[],:\"\\u0eE.-+ntf \n\x00\xff\xc3";

/// Damages a text in a few bytes.
pub(crate) fn damage(text: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..rng.usize(1..3) {
        let at = rng.usize(0..text.len() + 1);
        let end = (at + rng.usize(0..3)).min(text.len());
        let byte = BYTES[rng.usize(0..BYTES.len())];
        let piece = [byte];
        text.splice(
            at..end,
            if rng.bool() { &piece[..] } else { &[] }.iter().copied(),
        );
    }
}
