//! A client alone.

include!(concat!(env!("OUT_DIR"), "/all.rs"));
