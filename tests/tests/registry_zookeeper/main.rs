//! The registry `zookeeper` against real servers.
