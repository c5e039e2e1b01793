//! Stubs alone.

micro_runtime::include_proto!();
