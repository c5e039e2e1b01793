//! From a request to files.

pub(crate) mod names;
