//! What became of the names that could be kept: where things are, and that they still do what they did.

use micro_names::names::cases::proto2::{Defaults, Five, Groups, Plain};
use micro_names::names::generated::accessors::{Kind, Setters};
use micro_names::names::modules;
use micro_runtime::prost::Message;
use micro_runtime::{Context, Result};

#[test]
fn the_warnings_are_these() {
    let expected = include_str!("../warnings.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/warnings.txt");
        assert!(std::fs::write(path, format!("{}\n", micro_names::WARNINGS)).is_ok());
        return;
    }
    assert_eq!(format!("{}\n", micro_names::WARNINGS), expected);
}

#[test]
fn packages_are_in_the_modules_of_messages() {
    // Message `V1.Inner`, package `v1`, package `v1.inner` and package `v1.again`, all below one module.
    let user = modules::User {
        own: Some(modules::v1::Inner { kind: 0 }),
        other: Some(modules::v1::Other::default()),
        deepest: Some(modules::v1::inner::Deepest::default()),
        kind: modules::v1::other::Kind::Zero.into(),
    };
    let last = modules::v1::again::Last {
        inner: user.own,
        user: Some(user),
    };
    let decoded = modules::v1::again::Last::decode(last.encode_to_vec().as_slice());
    assert_eq!(decoded, Ok(last));
    assert_eq!(modules::v1::inner::Kind::Zero as i32, 0);
    assert_eq!(modules::gap::below::Deep { a: 1 }.encode_to_vec(), [8, 1]);
    assert!(micro_names::rootless::sub::Sub::default().inner.is_none());
    assert!(micro_names::rootless::Inner::default().v1.is_none());
}

#[test]
fn enums_without_functions_are_integers() {
    let mut setters = Setters {
        x: Kind::One.into(),
        set_x: Some(7),
        ..Setters::default()
    };
    assert_eq!(setters.set_x(), 7);
    setters.n.insert("n".to_owned(), Kind::Negative.into());
    setters.r#match.insert("m".to_owned(), Kind::One.into());
    let bytes = setters.encode_to_vec();
    assert_eq!(Setters::decode(bytes.as_slice()), Ok(setters.clone()));
    let json = micro_runtime::json::to_string(&setters);
    assert_eq!(
        json.ok().as_deref(),
        Some(r#"{"x":"ONE","setX":7,"n":{"n":"NEGATIVE"},"match":{"m":"ONE"}}"#)
    );
}

#[test]
fn defaults_are_those_of_the_proto() {
    let defaults = Defaults::default();
    // The second name of a number is the first.
    assert_eq!(defaults.alias(), Five::Five);
    assert_eq!(defaults.six(), Five::Six);
    assert_eq!(defaults.low(), Five::Low);
    assert_eq!(defaults.none(), Five::Five);
    assert_eq!(defaults.must(), Five::Five);
    assert_eq!(defaults.text(), "a \"quoted\" {} \\ \n 'text' é");
    assert_eq!(defaults.data(), b"\x01\xff\"\\{}");
    assert_eq!(defaults.lowest(), i64::MIN);
    assert_eq!(defaults.highest(), u64::MAX);
    assert_eq!(defaults.least(), i32::MIN);
    assert_eq!(defaults.r#type, "r#type");
    // As integers, with the same defaults.
    let plain = Plain::default();
    assert_eq!((plain.a(), plain.b, plain.c(), plain.d), (6, 5, 5, -5));
}

#[test]
fn groups_can_hold_themselves() {
    let inner = Groups::default();
    let ok = micro_names::names::cases::proto2::groups::result::Ok {
        value: Some(1),
        back: Some(inner),
    };
    let groups = Groups {
        result: Some(Box::new(
            micro_names::names::cases::proto2::groups::Result {
                ok: Some(Box::new(ok)),
            },
        )),
        ..Groups::default()
    };
    assert_eq!(
        Groups::decode(groups.encode_to_vec().as_slice()),
        Ok(groups)
    );
}

/// A handler whose functions are named like those of traits that it has too.
#[derive(Clone, Debug, Default)]
struct Handler;

mod keywords {
    pub(super) use micro_names::names::keywords::services::{Reply, Request, SelfHandler};
}

impl keywords::SelfHandler for Handler {
    async fn self_(
        &self,
        _: Context,
        _: micro_runtime::Inbound<keywords::Request>,
        _: micro_runtime::Outbound<keywords::Reply>,
    ) -> Result<()> {
        Ok(())
    }
}

#[test]
fn handlers_of_hard_names_are_handlers() {
    fn is_handler<H: keywords::SelfHandler>(_: &H) {}
    is_handler(&Clone::clone(&Handler));
}
