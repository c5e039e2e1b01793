//! A service as a program: its settings, its log, its life from start to stop.
//!
#![doc = include_str!("settings/settings.md")]

pub(crate) mod advertise;
#[cfg(feature = "flags")]
pub(crate) mod logs;
pub(crate) mod settings;
pub(crate) mod signals;
