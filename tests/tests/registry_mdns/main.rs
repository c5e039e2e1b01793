//! The registry `mdns` against real servers.
