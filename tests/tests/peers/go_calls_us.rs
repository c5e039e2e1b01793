//! Clients of go-micro and of grpc-go against our service.

use serde_json::Value;

use crate::report::{Report, holds, same};
use micro_tests::go::Program;

/// What an answer must be.
pub(crate) type Check = fn(&Value) -> Result<(), String>;

pub(crate) fn ok(answer: &Value) -> Result<(), String> {
    same("ok", &Value::Bool(true), &answer["ok"])
}

/// A micro error, whole: id, code and text as the handler made them.
fn micro(answer: &Value, code: i64) -> Result<(), String> {
    let error = &answer["error"];
    same("kind", &Value::from("micro"), &error["kind"])?;
    same("id", &Value::from("peer.fail"), &error["id"])?;
    same("code", &Value::from(code), &error["code"])?;
    same(
        "detail",
        &Value::from("as asked <&> 100%"),
        &error["detail"],
    )
}

/// The micro error that this runtime makes itself.
fn made_here(answer: &Value, code: i64, text: &str) -> Result<(), String> {
    let error = &answer["error"];
    same("kind", &Value::from("micro"), &error["kind"])?;
    same("code", &Value::from(code), &error["code"])?;
    holds(
        text,
        error["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains(text)),
        error,
    )
}

fn counts(answer: &Value, numbers: i64, end: &str) -> Result<(), String> {
    let expected: Vec<Value> = (0..numbers).map(Value::from).collect();
    same("counts", &Value::from(expected), &answer["counts"])?;
    same("end", &Value::from(end), &answer["end"])
}

/// The error with which a stream ended: the status as it is, with go-micro's JSON in its message.
fn stream_error(answer: &Value, grpc: i64, code: i64) -> Result<(), String> {
    let error = &answer["error"];
    same("grpc_code", &Value::from(grpc), &error["grpc_code"])?;
    same("code", &Value::from(code), &error["code"])?;
    same("id", &Value::from("peer.fail"), &error["id"])
}

fn grpc_status(answer: &Value, code: i64) -> Result<(), String> {
    same(
        "grpc_code",
        &Value::from(code),
        &answer["error"]["grpc_code"],
    )
}

fn cancelled(answer: &Value) -> Result<(), String> {
    same(
        "handler",
        &Value::from("cancelled"),
        &answer["handler"]["state"],
    )
}

/// Cases of every client of go-micro.
const GO_MICRO: &[(&str, Check)] = &[
    ("unary", ok),
    ("unary:application/grpc", ok),
    ("unary:application/grpc+proto", ok),
    ("unary:application/proto", ok),
    ("unary:application/protobuf", ok),
    ("unary:application/octet-stream", ok),
    ("unary:application/json", ok),
    ("unary:application/grpc+json", ok),
    ("fail:400", |answer| micro(answer, 400)),
    ("fail:401", |answer| micro(answer, 401)),
    ("fail:403", |answer| micro(answer, 403)),
    ("fail:404", |answer| micro(answer, 404)),
    ("fail:408", |answer| micro(answer, 408)),
    ("fail:409", |answer| micro(answer, 409)),
    ("fail:412", |answer| micro(answer, 412)),
    ("fail:418", |answer| micro(answer, 418)),
    ("fail:500", |answer| micro(answer, 500)),
    ("fail:501", |answer| micro(answer, 501)),
    ("fail:503", |answer| micro(answer, 503)),
    ("fail:599", |answer| micro(answer, 599)),
    ("count", |answer| counts(answer, 5, "eof")),
    ("count:200", |answer| counts(answer, 200, "eof")),
    ("failing_count", |answer| {
        counts(answer, 3, "error")?;
        stream_error(answer, 5, 404)
    }),
    ("failing_count:418", |answer| {
        counts(answer, 3, "error")?;
        stream_error(answer, 2, 418)
    }),
    ("chat", |answer| {
        same(
            "messages",
            &Some(5),
            &answer["msgs"].as_array().map(Vec::len),
        )
    }),
    ("cancel_stream", |answer| {
        ok(answer).and_then(|()| cancelled(answer))
    }),
    // v2 ends its stream before it resets it, and the handler may be done by then.
    ("cancel_chat", |answer| {
        let state = answer["handler"]["state"].as_str();
        holds(
            "a handler that ended",
            matches!(state, Some("cancelled" | "finished")),
            &answer,
        )
    }),
    ("cancel_call", cancelled),
    ("deadline", |answer| {
        let code = answer["error"]["code"].as_i64();
        holds("408 or 500", matches!(code, Some(408 | 500)), answer)?;
        cancelled(answer)
    }),
    ("stream_deadline", |answer| {
        grpc_status(answer, 4)?;
        cancelled(answer)
    }),
    ("large_reply", |answer| {
        holds(
            "a limit of the client's own",
            answer["error"]["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains("larger than max")),
            answer,
        )
    }),
    ("unknown_service", |answer| {
        made_here(answer, 500, "not found")
    }),
    ("unknown_handler", |answer| {
        made_here(answer, 501, "unknown service")
    }),
    ("unknown_method", |answer| {
        made_here(answer, 501, "unknown method Nope")
    }),
    ("panic", |answer| {
        made_here(answer, 500, "the handler panicked")
    }),
    ("headers", |answer| {
        let meta = &answer["rsp"]["meta"];
        same("x-foo-bar", &Value::from("Baz"), &meta["x-foo-bar"])?;
        same("timeout", &Value::Null, &meta["timeout"])?;
        same("x-content-type", &Value::Null, &meta["x-content-type"])
    }),
    ("parallel:200", ok),
    ("unary", ok),
];

/// Half-closing a stream is new in v5.
const GO_MICRO_5: &[(&str, Check)] = &[("collect", |answer| {
    same("joined", &Value::from("m0,m1,m2"), &answer["rsp"]["msg"])
})];

const GRPC_GO: &[(&str, Check)] = &[
    ("unary", ok),
    ("fail:5", |answer| {
        grpc_status(answer, 5)?;
        same(
            "message",
            &Value::from("as asked <&> 100% ü"),
            &answer["error"]["message"],
        )
    }),
    ("fail:10", |answer| grpc_status(answer, 10)),
    ("fail:16", |answer| grpc_status(answer, 16)),
    ("count", |answer| counts(answer, 5, "eof")),
    ("count:1000", |answer| counts(answer, 1000, "eof")),
    ("failing_count:9", |answer| {
        counts(answer, 3, "error")?;
        grpc_status(answer, 9)
    }),
    ("chat:50", |answer| {
        same("end", &Value::from("eof"), &answer["end"])
    }),
    ("collect:100", |answer| {
        same("count", &Value::from(100), &answer["rsp"]["count"])
    }),
    ("cancel_stream", |answer| {
        ok(answer).and_then(|()| cancelled(answer))
    }),
    ("cancel_chat", cancelled),
    ("cancel_call", |answer| {
        grpc_status(answer, 1)?;
        cancelled(answer)
    }),
    ("deadline", |answer| {
        grpc_status(answer, 4)?;
        cancelled(answer)
    }),
    ("stream_deadline", |answer| grpc_status(answer, 4)),
    ("large_reply", |answer| grpc_status(answer, 8)),
    ("large_request", |answer| grpc_status(answer, 8)),
    ("unknown_handler", |answer| grpc_status(answer, 12)),
    ("unknown_method", |answer| grpc_status(answer, 12)),
    ("panic", |answer| grpc_status(answer, 13)),
    ("headers", |answer| {
        let meta = &answer["rsp"]["meta"];
        same("x-twice", &Value::from("one, two"), &meta["x-twice"])?;
        same("x-data-bin", &Value::from("0001ff"), &meta["x-data-bin"])?;
        let header = &answer["header"]["x-peer-header"];
        same("header", &Value::from(vec!["one", "two"]), header)?;
        let trailer = &answer["trailer"]["x-peer-trailer"];
        same("trailer", &Value::from(vec!["end"]), trailer)
    }),
    ("gzip", |answer| grpc_status(answer, 12)),
    ("path:/Peer/Unary", ok),
    ("path:/x.y.Peer/Unary", ok),
    ("path:/a/Peer/Unary", |answer| grpc_status(answer, 12)),
    ("path:/Peer.Unary", |answer| grpc_status(answer, 12)),
    ("parallel:500", ok),
    ("unary", ok),
];

/// Every case of a program, by its client with these arguments.
pub(crate) async fn every(report: &mut Report, program: &Program, with: &str, arguments: &[&str]) {
    let cases: &[&[(&str, Check)]] = match program.name {
        "grpcgo" => &[GRPC_GO],
        "gomicro5" => &[GO_MICRO, GO_MICRO_5],
        _ => &[GO_MICRO],
    };
    run(report, program, with, arguments, &cases.concat()).await;
}

/// Clients of go-micro, which find us over mDNS.
pub(crate) async fn go_micro(report: &mut Report, program: &Program, name: &str) {
    // Calls are counted: a call that fails is not made again.
    let arguments = ["--name", name, "--retries", "0"];
    run(report, program, "", &arguments, GO_MICRO).await;
    let json: &[&str] = &[&arguments[..], &["--content-type", "application/json"]].concat();
    // v2 encodes JSON into a pooled buffer and gives that back before its bytes are sent (client/grpc/codec.go): of
    // calls made at once some ask what another one does. v5 does not.
    let sound =
        |(name, _): &&(&str, Check)| program.name != "gomicro2" || !name.starts_with("parallel");
    let one_by_one: Vec<(&str, Check)> = GO_MICRO.iter().filter(sound).copied().collect();
    run(report, program, " json", json, &one_by_one).await;
    if program.name == "gomicro5" {
        run(report, program, "", &arguments, GO_MICRO_5).await;
    }
    // With a limit of its own out of the way, it is our limit that is met.
    let large: &[&str] = &[&arguments[..], &["--max-msg", "8000000"]].concat();
    let cases: &[(&str, Check)] = &[
        ("large_request", |answer| {
            made_here(answer, 429, "the limit is 4194304 bytes")
        }),
        ("large_reply", ok),
        ("unary", ok),
    ];
    run(report, program, " with large messages", large, cases).await;
}

/// The client of grpc-go, which is told where we are.
pub(crate) async fn grpc_go(report: &mut Report, program: &Program, address: &str) {
    run(report, program, "", &["--address", address], GRPC_GO).await;
}

pub(crate) async fn run(
    report: &mut Report,
    program: &Program,
    with: &str,
    arguments: &[&str],
    cases: &[(&str, Check)],
) {
    let names: Vec<&str> = cases.iter().map(|(name, _)| *name).collect();
    match program.client(arguments, &names).await {
        Ok(answers) => {
            for ((name, check), answer) in cases.iter().zip(&answers) {
                let result = check(answer).map_err(|why| format!("{why}; it said {answer}"));
                report.case(&format!("{} -> us{with}: {name}", program.name), result);
            }
        }
        Err(error) => report.case(&format!("{} -> us{with}", program.name), Err(error)),
    }
}
