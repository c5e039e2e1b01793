//! Random requests: whatever their names, there is an answer, and what is generated has every name once.
//!
//! `PROPTEST_CASES` says how many; 256 if it does not.

mod descriptors;
mod scopes;

use descriptors::{Tape, request};
use proptest::prelude::*;
use prost::Message;
use protoc_gen_micro::generate;

/// Parameters that change what is named, or where.
const PARAMETERS: [&str; 6] = [
    "include_file",
    "include_file,layout=nested",
    "include_file,retain_enum_prefix,file_descriptor_set",
    "include_file,btree_map=.,json=false",
    "include_file,client=false",
    "include_file,server=false,bytes=.",
];

fn tapes() -> impl Strategy<Value = Vec<u32>> {
    proptest::collection::vec(any::<u32>(), 0..600)
}

proptest! {
    #[test]
    fn every_name_is_there_once_or_said_to_collide(tape in tapes(), parameter in 0..PARAMETERS.len()) {
        let request = request(&mut Tape::new(&tape), PARAMETERS[parameter]);
        match generate(&request.encode_to_vec()) {
            Ok(generated) => {
                let problems = scopes::problems(&generated);
                prop_assert!(problems.is_empty(), "{}", problems.join("\n"));
            }
            Err(error) => {
                prop_assert!(!error.is_unreadable(), "{error}");
                for diagnostic in error.diagnostics() {
                    // One of ours, that is, and not what prost-build or syn stumbled over.
                    let of_a_proto = ["rename", "is not generated in this run"];
                    let of_output = "choose another name for one";
                    let text = diagnostic.text();
                    prop_assert!(
                        match diagnostic.file() {
                            Some(_) => of_a_proto.iter().any(|expected| text.contains(expected)),
                            None => text.contains(of_output),
                        },
                        "{error}"
                    );
                }
                let mut sorted = error.diagnostics().to_vec();
                sorted.sort();
                prop_assert_eq!(sorted.as_slice(), error.diagnostics());
            }
        }
    }

    #[test]
    fn the_order_of_files_does_not_matter(
        tape in tapes(),
        (targets, files) in (any::<u64>(), any::<u64>()),
    ) {
        let mut request = request(&mut Tape::new(&tape), PARAMETERS[0]);
        // Some files are only imported.
        let count = request.file_to_generate.len();
        request.file_to_generate.truncate(usize::try_from(targets % 4).unwrap_or(0).max(1).min(count));
        let first = generate(&request.encode_to_vec()).map_err(|error| error.to_string());
        shuffle(&mut request.file_to_generate, targets);
        shuffle(&mut request.proto_file, files);
        let second = generate(&request.encode_to_vec()).map_err(|error| error.to_string());
        prop_assert_eq!(first, second);
    }

    #[test]
    fn cut_and_changed_requests_are_answered(
        tape in tapes(),
        cut in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let mut bytes = request(&mut Tape::new(&tape), PARAMETERS[0]).encode_to_vec();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        // Whatever it says: that it comes back is the test.
        let _ = generate(&bytes);
        bytes.truncate(cut.index(bytes.len() + 1));
        let _ = generate(&bytes);
    }

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = generate(&bytes);
    }
}

/// Another order, of a number's choice.
fn shuffle<T>(items: &mut [T], mut seed: u64) {
    for end in (1..items.len()).rev() {
        let count = end as u64 + 1;
        let other = usize::try_from(seed % count).unwrap_or(0);
        items.swap(end, other);
        seed /= count;
    }
}
