//! [`Service`](crate::registry::Service)s as programs: settings, logs, life from start to stop.
//!
#![doc = include_str!("settings/settings.md")]

pub(crate) mod advertise;
pub(crate) mod events;
#[cfg(feature = "flags")]
pub(crate) mod logs;
pub(crate) mod settings;
pub(crate) mod signals;
