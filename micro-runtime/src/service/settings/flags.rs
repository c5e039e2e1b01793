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
        "if it is a flag of the program's own, name it with Service::own_flags([{}])",
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
