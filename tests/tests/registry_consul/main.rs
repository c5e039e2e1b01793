//! The registry `consul` against real servers.
