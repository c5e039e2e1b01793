//! What a peer can do wrong, and the status that it gets the caller.

use super::*;
use crate::Code;
use crate::exchange::reset;

on_every_engine! {
    replies_that_are_no_grpc
    a_status_that_is_said_counts_whatever_the_http_status
    replies_without_a_status
    replies_of_another_number_of_messages
    an_error_after_a_message_is_the_result
    bytes_that_are_no_messages
    a_reply_that_is_too_large_is_reset_and_the_connection_lives
    resets_have_the_codes_of_grpcs_table
    an_early_status_wins_over_a_request_that_is_still_being_sent
}

/// The status of a unary call to a peer that answers so.
async fn answered<F, Fut>(engine: Engine, answer: F) -> (Code, String)
where
    F: Fn(Outgoing) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (target, _drainer) = target_on(engine, move |exchange| answer(exchange.reply)).await;
    let status = target.unary(&ECHO, String::new()).await.unwrap_err();
    (status.code(), status.message().to_owned())
}

async fn replies_that_are_no_grpc(engine: Engine) {
    for (status, content_type, code) in [
        (404, "text/plain", Code::Unimplemented),
        (415, "text/html", Code::Unknown),
        (503, "text/html", Code::Unavailable),
        (401, "application/json", Code::Unauthenticated),
        (200, "text/html", Code::Unknown),
    ] {
        let found = answered(engine, move |mut out: Outgoing| async move {
            out.head(head_of(status, content_type), false).unwrap();
            out.data(Bytes::from_static(b"<html>"), true).unwrap();
        })
        .await;
        assert_eq!(found.0, code, "{status}: {}", found.1);
        assert!(found.1.contains(&status.to_string()), "{}", found.1);
    }
}

async fn a_status_that_is_said_counts_whatever_the_http_status(engine: Engine) {
    let found = answered(engine, |mut out: Outgoing| async move {
        let mut head = head_of(500, "application/grpc");
        head.fields.slot(Slot::GrpcStatus, FieldValue::Number(10));
        out.head(head, true).unwrap();
    });
    assert_eq!(found.await.0, Code::Aborted);
}

async fn replies_without_a_status(engine: Engine) {
    let (code, text) = answered(engine, |mut out: Outgoing| async move {
        out.head(head(), false).unwrap();
        out.data(framed("a"), true).unwrap();
    })
    .await;
    assert_eq!(code, Code::Internal, "{text}");
    let (code, text) = answered(engine, |mut out: Outgoing| async move {
        out.head(head(), false).unwrap();
        out.data(framed("a"), false).unwrap();
        let mut fields = OutFields::default();
        fields.text("x-a".into(), FieldValue::Static("1"));
        out.trailers(fields).unwrap();
    })
    .await;
    assert_eq!(code, Code::Unknown, "{text}");
}

async fn replies_of_another_number_of_messages(engine: Engine) {
    let (code, text) = answered(engine, |mut out: Outgoing| async move {
        out.head(head(), false).unwrap();
        out.trailers(status(0, "")).unwrap();
    })
    .await;
    assert_eq!(code, Code::Unimplemented);
    assert!(text.contains("found none"), "{text}");
    let (code, text) = answered(engine, |mut out: Outgoing| async move {
        out.head(head(), false).unwrap();
        out.data(framed("a"), false).unwrap();
        out.data(framed("b"), false).unwrap();
        out.trailers(status(0, "")).unwrap();
    })
    .await;
    assert_eq!(code, Code::Unimplemented);
    assert!(text.contains("found more"), "{text}");
}

async fn an_error_after_a_message_is_the_result(engine: Engine) {
    let (code, text) = answered(engine, |mut out: Outgoing| async move {
        out.head(head(), false).unwrap();
        out.data(framed("a"), false).unwrap();
        out.trailers(status(10, "changed my mind")).unwrap();
    })
    .await;
    assert_eq!((code, &*text), (Code::Aborted, "changed my mind"));
}

async fn bytes_that_are_no_messages(engine: Engine) {
    for (bytes, code) in [
        (&b"\x01\0\0\0\x01a"[..], Code::Internal),
        (b"\x09\0\0\0\x01a", Code::Internal),
        (b"\0\0\0\0\x09a", Code::Internal),
        (b"\0\xff\xff\xff\xffa", Code::ResourceExhausted),
        // A field of type 7, which there is not.
        (b"\0\0\0\0\x01\x0f", Code::Internal),
    ] {
        let found = answered(engine, move |mut out: Outgoing| async move {
            out.head(head(), false).unwrap();
            out.data(Bytes::from_static(bytes), false).unwrap();
            // The client may have reset the exchange by now.
            let _ = out.trailers(status(0, ""));
        })
        .await;
        assert_eq!(found.0, code, "{bytes:?}: {}", found.1);
    }
}

async fn a_reply_that_is_too_large_is_reset_and_the_connection_lives(engine: Engine) {
    let (sender, mut codes) = line();
    let (target, _drainer) = target_on(engine, move |exchange| {
        let sender = sender.clone();
        async move {
            let text = read(&mut reader(exchange.body)).await.unwrap();
            if text == "small" {
                return reply(exchange.reply, &text);
            }
            let mut out = exchange.reply;
            out.head(head(), false).unwrap();
            out.data(framed(&"x".repeat(5 << 20)), false).unwrap();
            sender.send(cancelled(out).await).unwrap();
        }
    })
    .await;
    let status = target.unary(&ECHO, "large".into()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("4194304"), "{status}");
    assert_eq!(codes.recv().await, Some(Why::Reset(reset::CANCEL)));
    assert_eq!(target.unary(&ECHO, "small".into()).await.unwrap(), "small");
}

async fn resets_have_the_codes_of_grpcs_table(engine: Engine) {
    for (code, expected) in [
        (reset::INTERNAL_ERROR, Code::Internal),
        (reset::PROTOCOL_ERROR, Code::Internal),
        (reset::CANCEL, Code::Cancelled),
        (reset::ENHANCE_YOUR_CALM, Code::ResourceExhausted),
        (reset::INADEQUATE_SECURITY, Code::PermissionDenied),
        (reset::REFUSED_STREAM, Code::Unavailable),
    ] {
        let (found, text) =
            answered(engine, move |out: Outgoing| async move { out.reset(code) }).await;
        assert_eq!(found, expected, "{code}: {text}");
        assert!(text.contains("local"), "names the node: {text}");
    }
}

async fn an_early_status_wins_over_a_request_that_is_still_being_sent(engine: Engine) {
    let (target, _drainer) = target_on(engine, |exchange| async move {
        refuse(exchange.reply, 8, "too much");
    })
    .await;
    // Far more than the windows take.
    let large = "x".repeat(12 << 20);
    let status = target.unary(&ECHO, large).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.message(), "too much");
}
