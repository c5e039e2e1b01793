//! What is found before and beside the code: what stands in its way, and what its users should know.

mod absent;
mod descriptors;
mod gaps;
mod well_known;

pub(super) use self::absent::find as absent_types;
pub(super) use self::descriptors::check as descriptors;
pub(super) use self::gaps::find as gaps_in_json;
