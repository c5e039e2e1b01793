//! The registry `nats` against real servers.
