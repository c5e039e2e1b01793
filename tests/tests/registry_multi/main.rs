//! The registry `multi` against real servers.
