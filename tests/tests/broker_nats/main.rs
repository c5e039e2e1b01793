//! NATS as a broker, with real servers of both generations.
//!
//! | file | holds |
//! |---|---|
//! | `cluster` | three servers that have every event |
//! | `contract` | what every broker must show |
//! | `go` | go-micro v2.9.1 and v5.30.0 |
//! | `harm` | what others do meanwhile: streams removed, permissions changed, garbage, a slow network |
//! | `kit` | publishing and receiving, with limits on time |
//! | `once` | at most once: core NATS |
//! | `least` | at least once: JetStream |
//! | `lost` | servers that die, stand still, or are not there yet |
//! | `refused` | servers that refuse us, streams and consumers that differ |
//! | `slow` | handlers that are slower than events come |
//! | `through` | publishers and subscriptions, as users have them |

mod cluster;
mod contract;
mod go;
mod harm;
mod kit;
mod least;
mod lost;
mod once;
mod refused;
mod slow;
mod through;
