//! Settings from long flags: `--x_y value` or `--x_y=value`, also spelt `--x-y`.

use std::ffi::OsString;

use super::Settings;
use super::table::{Effect, TABLE};
use super::value::{Given, Origin, shown};
use crate::error::Error;

/// Takes over what the flags say, up to `--`, and gives the other arguments in their order.
pub(super) fn read(
    settings: &mut Settings,
    args: impl IntoIterator<Item = OsString>,
    own: &[String],
) -> Result<Vec<OsString>, Error> {
    let own: Vec<String> = own
        .iter()
        .map(|name| normal(name.trim_start_matches('-')))
        .collect();
    let mut rest = Vec::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        if arg == "--" {
            rest.push(arg);
            rest.extend(args);
            break;
        }
        // Only what is before `=` decides here, so it does no harm that bytes that are not UTF-8 are changed.
        let lossy = arg.to_string_lossy();
        let Some(spelt) = Spelt::read(&lossy) else {
            rest.push(arg);
            continue;
        };
        if own.contains(&spelt.normal) {
            rest.push(arg);
            continue;
        }
        let Some((name, effect)) = find(&spelt)? else {
            rest.push(arg);
            continue;
        };
        let origin = Origin::Flag(name);
        let take = match effect {
            Effect::Reads(take) => take,
            Effect::None(why) | Effect::Refused(why) => {
                return Err(origin.error(format_args!(
                    "expected not to be set: {why}; {}",
                    way_out(&spelt)
                )));
            }
        };
        let value = if spelt.has_value {
            let Some(text) = arg.to_str() else {
                return Err(origin.error("expected UTF-8 text, found other bytes"));
            };
            let (_, value) = text.split_once('=').unwrap_or_default();
            value.to_owned()
        } else {
            match args.next() {
                Some(value) if value.to_string_lossy().starts_with("--") => {
                    return Err(origin.error(format_args!(
                        "expected a value, found {}; if that is the value, write --{name}=",
                        shown(&value.to_string_lossy())
                    )));
                }
                Some(value) => value
                    .into_string()
                    .map_err(|_| origin.error("expected UTF-8 text, found other bytes"))?,
                None => {
                    return Err(origin.error("expected a value, found the end of the arguments"));
                }
            }
        };
        if !value.is_empty() {
            take(
                settings,
                &Given {
                    text: &value,
                    origin,
                },
            )?;
        }
    }
    Ok(rest)
}

/// An argument that looks like a flag.
struct Spelt<'a> {
    /// It has one dash in place of two.
    single: bool,
    /// Its name as it was written.
    name: &'a str,
    /// Its name with `_` for `-`.
    normal: String,
    /// It has a `=`.
    has_value: bool,
}

impl<'a> Spelt<'a> {
    fn read(arg: &'a str) -> Option<Spelt<'a>> {
        let body = arg.strip_prefix('-')?;
        let (single, body) = match body.strip_prefix('-') {
            Some(body) => (false, body),
            None => (true, body),
        };
        let (name, has_value) = match body.split_once('=') {
            Some((name, _)) => (name, true),
            None => (body, false),
        };
        Some(Spelt {
            single,
            name,
            normal: normal(name),
            has_value,
        })
    }
}

/// A name of ours has `_`, and Rust's programs are used to `-`: both are the same.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// The flag of ours that this is, and what it does.
///
/// # Errors
/// If it is none, but nearly.
fn find(spelt: &Spelt<'_>) -> Result<Option<(&'static str, Effect)>, Error> {
    let mut flags = TABLE
        .iter()
        .filter_map(|entry| Some((entry.flag?, entry.effect)));
    let exact = flags.clone().find(|flag| flag.0 == spelt.normal);
    let near = match exact {
        Some(flag) if !spelt.single => return Ok(Some(flag)),
        Some(flag) => Some(flag),
        None if spelt.single => None,
        None => flags.find(|flag| nearly(&spelt.normal.to_lowercase(), flag.0)),
    };
    // What does nothing here is no reason to keep a program from a flag of a similar name.
    match near.filter(|flag| matches!(flag.1, Effect::Reads(_))) {
        Some((name, _)) => Err(Error::config(format_args!(
            "expected --{name}, found {}{}, which nearly spells it; {}",
            if spelt.single { "-" } else { "--" },
            shown(spelt.name).trim_matches('"'),
            way_out(spelt)
        ))),
        None => Ok(None),
    }
}

fn way_out(spelt: &Spelt<'_>) -> String {
    format!(
        "if it is a flag of the program's own, name it with ServiceBuilder::own_flags([{}])",
        shown(spelt.name)
    )
}

/// Whether a name that is not ours was meant to be. Two slips (letters wrong, missing, too many or swapped)
/// in a name of eight letters or more, one in a shorter one, where two would make another word; or ours cut
/// short after the underscore and three letters more.
fn nearly(found: &str, ours: &str) -> bool {
    let slips = if ours.len() >= 8 { 2 } else { 1 };
    if found.len().abs_diff(ours.len()) <= slips
        && strsim::damerau_levenshtein(found, ours) <= slips
    {
        return true;
    }
    match ours.split_once('_') {
        Some((first, _)) => ours.starts_with(found) && found.len() >= first.len() + 4,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_words(words: &str, own: &[&str]) -> Result<(Settings, String), Error> {
        let mut settings = Settings::new("hello");
        let own: Vec<_> = own.iter().map(|&name| name.to_owned()).collect();
        let args = words.split(' ').filter(|word| !word.is_empty());
        let rest = read(&mut settings, args.map(OsString::from), &own)?;
        let rest: Vec<_> = rest.iter().map(|arg| arg.to_str().unwrap()).collect();
        Ok((settings, rest.join(" ")))
    }

    #[test]
    fn what_is_not_ours_is_left_in_its_order() {
        for (words, name, rest) in [
            ("", "hello", ""),
            ("run --server_name a fast", "a", "run fast"),
            ("run --server_name=a fast", "a", "run fast"),
            (
                "--server-name a -v --verbose --port=80 --port 80",
                "a",
                "-v --verbose --port=80 --port 80",
            ),
            ("--server-name=a=b", "a=b", ""),
            ("--server_name a --server_name b", "b", ""),
            ("--server_name a --server_name=", "a", ""),
            ("--server_name -a", "-a", ""),
            ("--server_name=--registry", "--registry", ""),
            (
                "x -- --server_name a --registry",
                "hello",
                "x -- --server_name a --registry",
            ),
            ("--server_name a -- -- b", "a", "-- -- b"),
            (
                "- --= -= --=a ---- --- -x=--server_name",
                "hello",
                "- --= -= --=a ---- --- -x=--server_name",
            ),
            (
                "--help --version --helper --trace --stor --auto",
                "hello",
                "--help --version --helper --trace --stor --auto",
            ),
            (
                "-s -c -rf --retries 2 --timeout 5s",
                "hello",
                "-s -c -rf --retries 2 --timeout 5s",
            ),
        ] {
            let (settings, left) = read_words(words, &[]).unwrap();
            assert_eq!(
                (settings.name.as_str(), left.as_str()),
                (name, rest),
                "{words}"
            );
        }
    }

    #[test]
    fn a_slip_is_an_error_that_names_what_was_meant() {
        for (slip, meant) in [
            ("--registy", "registry"),
            ("--registry-adress", "registry_address"),
            ("--regsitry=mdns", "registry"),
            ("--Registry", "registry"),
            ("--SERVER_NAME", "server_name"),
            ("--servername", "server_name"),
            ("--server_addr", "server_address"),
            ("--server-ver", "server_version"),
            ("--client_req", "client_request_timeout"),
            ("--slector", "selector"),
            ("--sevrer", "server"),
            ("--clients", "client"),
            ("--transprot", "transport"),
            ("--register-tll", "register_ttl"),
            ("-server_name", "server_name"),
            ("-registry=mdns", "registry"),
            ("---registry", "registry"),
        ] {
            let error = read_words(slip, &[]).unwrap_err().to_string();
            let found = slip.split('=').next().unwrap();
            let name = found
                .strip_prefix("--")
                .or(found.strip_prefix('-'))
                .unwrap();
            assert_eq!(
                error,
                format!(
                    "expected --{meant}, found {found}, which nearly spells it; if it is a flag of the program's own, \
                     name it with ServiceBuilder::own_flags([\"{name}\"])"
                ),
            );
        }
    }

    #[test]
    fn the_programs_own_flags_stay_its_own() {
        for words in [
            "--config a",
            "--store=a",
            "--clients 3",
            "--server-nam a",
            "-registry b",
            "--registry b",
        ] {
            assert!(
                read_words(words, &[]).is_err() || words == "--registry b",
                "{words}"
            );
            let name = words
                .trim_start_matches('-')
                .split(['=', ' '])
                .next()
                .unwrap();
            for own in [name, &format!("--{name}"), &name.replace('-', "_")] {
                let (_, rest) = read_words(words, &["other", own]).unwrap();
                assert_eq!(rest, words);
            }
        }
    }

    #[test]
    fn a_missing_value_is_an_error() {
        for (words, expected) in [
            (
                "a --server_name",
                "--server_name: expected a value, found the end of the arguments",
            ),
            (
                "--server_name --registry mdns",
                "--server_name: expected a value, found \"--registry\"; if that is the value, write --server_name=",
            ),
            (
                "--server-name --",
                "--server_name: expected a value, found \"--\"; if that is the value, write --server_name=",
            ),
        ] {
            assert_eq!(read_words(words, &[]).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn metadata_may_be_repeated() {
        let (settings, _) = read_words(
            "--server_metadata a=1,b=2 --server_metadata b=3 --server_metadata=c=x=y,d=",
            &[],
        )
        .unwrap();
        let expected = [("a", "1"), ("b", "3"), ("c", "x=y"), ("d", "")];
        assert!(
            settings
                .metadata
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .eq(expected)
        );
    }

    #[cfg(unix)]
    #[test]
    fn other_bytes_are_left_or_refused() {
        use std::os::unix::ffi::OsStringExt as _;

        let bytes = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let args = vec![bytes(b"\xff"), bytes(b"--x=\xff"), bytes(b"--\xff")];
        let mut settings = Settings::new("hello");
        assert_eq!(read(&mut settings, args.clone(), &[]).unwrap(), args);
        for args in [
            vec![bytes(b"--server_name=\xff")],
            vec![bytes(b"--server_name"), bytes(b"\xff")],
        ] {
            let error = read(&mut settings, args, &[]).unwrap_err().to_string();
            assert_eq!(
                error,
                "--server_name: expected UTF-8 text, found other bytes"
            );
        }
    }

    fn arg() -> impl proptest::strategy::Strategy<Value = String> {
        use proptest::prelude::*;

        let name = proptest::sample::select(
            TABLE
                .iter()
                .filter_map(|entry| entry.flag)
                .collect::<Vec<_>>(),
        );
        prop_oneof![
            Just("--".to_owned()),
            ".{0,12}",
            "-{0,3}[a-z_-]{0,16}",
            (name.clone(), ".{0,12}").prop_map(|(name, value)| format!("--{name}={value}")),
            (name.clone(), "[-+0-9a-z.,=:]{0,12}")
                .prop_map(|(name, value)| format!("--{name}={value}")),
            name.prop_map(|name| format!("--{name}")),
        ]
    }

    proptest::proptest! {
        #[test]
        fn any_arguments_are_read_or_refused(args in proptest::collection::vec(arg(), 0..8)) {
            let mut settings = Settings::new("hello");
            let Ok(rest) = read(&mut settings, args.iter().map(OsString::from), &[]) else {
                return Ok(());
            };
            // What is left was there, in this order, and nothing after `--` was touched.
            let mut all = args.iter();
            for left in &rest {
                proptest::prop_assert!(all.any(|arg| left == arg.as_str()));
            }
            if let Some(end) = args.iter().position(|arg| arg == "--") {
                let after = &args[end..];
                proptest::prop_assert!(rest.len() >= after.len());
                let kept = &rest[rest.len() - after.len()..];
                proptest::prop_assert!(kept.iter().zip(after).all(|(left, arg)| left == arg.as_str()));
            }
        }
    }
}
