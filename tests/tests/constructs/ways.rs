//! Messages that hold others in very many ways: what takes time or room for each way would never end.

use micro_runtime::json;
use micro_runtime::prost::Message;

use crate::proto::constructs::ways::{M0, M1, M4, M40, m0};

#[test]
fn a_chain_of_messages_that_hold_the_next_one_twice() {
    // The first is small, since it holds what is large in a box.
    assert!(size_of::<M0>() < 1 << 20, "{} bytes", size_of::<M0>());
    let message = M0 {
        a: Some(Box::default()),
        other: Some(m0::Other::B(Box::new(M1 {
            a: Some(Default::default()),
            other: None,
        }))),
    };
    // Both are field 1 and field 2, with a length: the first empty, the second an empty field 1.
    let bytes = [0x0a, 0, 0x12, 2, 0x0a, 0];
    assert_eq!(message.encode_to_vec(), bytes);
    assert_eq!(M0::decode(&bytes[..]).unwrap(), message);
    assert_eq!(
        json::to_string(&message).unwrap(),
        r#"{"a":{},"b":{"a":{}}}"#
    );
    assert_eq!(
        json::from_str::<M0>(r#"{"b":{"a":{}},"a":{}}"#).unwrap(),
        message
    );
    // Nothing is left of what ended the walk.
    assert_eq!(format!("{:?}", M40 { number: 1 }), "M40 { number: 1 }");
    assert_eq!(
        M4::default(),
        M4 {
            a: None,
            other: None
        }
    );
}
