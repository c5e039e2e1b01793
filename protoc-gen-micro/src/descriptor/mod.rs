//! What protoc sends: read, checked, and made ready for prost-build.

mod defaults;
mod editions;
mod extensions;
mod features;
mod graph;
mod http;
mod json_names;
mod lower;
mod request;
mod required;
mod source;
mod wire;

pub(crate) use features::{MAXIMUM_EDITION, MINIMUM_EDITION};
pub(crate) use graph::{Graph, each_message, reaches};
pub(crate) use http::{Binding, HTTP, HttpOption, http_options};
pub(crate) use lower::lower;
pub(crate) use request::{File, Request};
pub(crate) use source::{comment, line};
pub(crate) use wire::{FileWithoutSource, RawFileSet, RawRequest, Response, ResponseFile};
