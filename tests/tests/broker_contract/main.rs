//! What every broker must show, of those without a suite for their server. The others call it in theirs.
//!
//! | file | about |
//! |---|---|
//! | `small` | the contract itself, on the tests' own broker |
//! | `memory`, `http` | those without a server |

mod http;
mod memory;
mod small;
