//! The registry `kubernetes` against real servers.
