//! Tests against a scripted etcd.
