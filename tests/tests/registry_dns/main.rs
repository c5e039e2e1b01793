//! The registry `dns` against real servers.
