//! Heads, frames, ends, half-close.

use bytes::Bytes;

use crate::kit::{app, echo, request, soon, whole};
use crate::rig::Rig;

crate::on_every_engine! {
    a_unary_exchange
}

async fn a_unary_exchange(rig: &dyn Rig) {
    let pair = rig.pair(app(echo)).await;
    for _ in 0..3 {
        let (_, mut reply) = pair
            .connection
            .try_open(request("/a.B/C"), Some(Bytes::from_static(b"hello")), true)
            .expect("it is open");
        let reply = soon(whole(&mut reply)).await.expect("a reply");
        assert_eq!(reply, (200, b"hello".to_vec(), Some("0".to_owned())));
    }
}
