//! The command `micro`.

fn main() {}
