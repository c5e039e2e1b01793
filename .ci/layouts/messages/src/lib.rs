//! Messages alone.

micro_runtime::include_proto!();
