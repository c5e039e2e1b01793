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
mod slim;
mod sound;
mod source;
mod stream;
mod utf8;
mod wire;

pub(crate) use features::{MAXIMUM_EDITION, MINIMUM_EDITION};
pub(crate) use graph::{Graph, each_message, reaches};
pub(crate) use http::{Binding, HTTP, http_options};
pub(crate) use lower::{complete_locations, lower};
pub(crate) use request::{File, Request};
pub(crate) use slim::FileWithoutSource;
pub(crate) use source::comment;
pub(crate) use stream::read_request;
pub(crate) use wire::{FileName, RawFileSet, RawRequest, Response, ResponseFile};
