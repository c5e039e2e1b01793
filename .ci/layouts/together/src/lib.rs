//! Nothing but `tests/`.
