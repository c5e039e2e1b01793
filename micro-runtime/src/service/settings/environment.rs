//! Settings from `MICRO_*` variables.

use std::ffi::OsString;

use super::Settings;
use super::table::{Effect, TABLE};
use super::value::{Given, Origin};
use crate::error::Error;

/// Takes over what the variables say; `lookup` gives a variable's value.
pub(super) fn read(
    settings: &mut Settings,
    lookup: impl Fn(&str) -> Option<OsString>,
) -> Result<(), Error> {
    for entry in TABLE {
        let variable = entry.variable;
        let Some(value) = lookup(variable).filter(|value| !value.is_empty()) else {
            continue;
        };
        let origin = Origin::Variable(variable);
        match entry.effect {
            Effect::Reads(take) => {
                let Some(text) = value.to_str() else {
                    return Err(origin.error("expected UTF-8 text, found other bytes"));
                };
                take(settings, &Given { text, origin })?;
            }
            Effect::None(why) => settings.ignored.push((variable, why)),
            Effect::Refused(why) => {
                return Err(origin.error(format_args!("expected not to be set: {why}")));
            }
        }
    }
    Ok(())
}
