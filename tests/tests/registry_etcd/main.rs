//! The registry `etcd` against real servers.
