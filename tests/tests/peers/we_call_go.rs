//! Our client against services of go-micro and of grpc-go.

use std::time::Duration;

use micro_runtime::client::ClientOptions;
use micro_runtime::{Client, Code, Result, Status};
use micro_tests::peer::v1::{Fault, PeerService, Req, Rsp, new_peer_service};
use micro_tests::peer::{echo, full_request};

use crate::report::{Report, holds, same};
use micro_tests::go::Program;

fn text(status: &Status) -> String {
    format!("{status:?}")
}

fn fault(code: i32) -> Req {
    Req {
        name: "fault".into(),
        count: 3,
        fault: Some(Fault {
            code,
            id: "peer.fail".into(),
            detail: "as asked <&> 100%".into(),
        }),
        ..Req::default()
    }
}

pub(crate) fn named(name: &str) -> Req {
    Req {
        name: name.into(),
        ..Req::default()
    }
}

/// A service of go-micro, found over mDNS.
pub(crate) async fn go_micro(report: &mut Report, program: &Program) -> Result<(), String> {
    let name = format!("peers.{}", program.name);
    let (process, _) = program
        .serve(&["--name", &name, "--max-msg", "8000000"])
        .await?;
    let service = crate::client().map_err(|error| format!("{error:?}"))?;
    let protobuf = service.client().clone();
    let json = protobuf
        .with(ClientOptions::new().content_type("application/json"))
        .map_err(|error| format!("{error:?}"))?;
    for (with, client) in [("", &protobuf), (" json", &json)] {
        let title = format!("we -> {}{with}", program.name);
        let peer = new_peer_service(&name, client);
        common(report, &title, &peer).await;
        for code in [400, 401, 403, 404, 408, 409, 412, 418, 500, 501, 503, 599] {
            report.case(
                &format!("{title}: fail {code}"),
                micro_fault(&peer, code).await,
            );
        }
        let handler = wrong_handler(client, &name).await;
        report.case(&format!("{title}: unknown handler"), handler);
    }
    let nobody = new_peer_service("peers.nobody", &protobuf);
    let result = match nobody.unary(named("a")).await {
        Err(status) => holds(
            "UNAVAILABLE with the service's and the registry's name",
            status.code() == Code::Unavailable
                && status.message().contains("peers.nobody")
                && status.message().contains("mdns"),
            &status,
        ),
        Ok(_) => Err("expected an error, found a reply".to_owned()),
    };
    report.case(&format!("we -> {}: unknown service", program.name), result);
    process.stop().await
}

/// A service of grpc-go, by its address.
pub(crate) async fn grpc_go(report: &mut Report, program: &Program) -> Result<(), String> {
    let (process, address) = program.serve(&["--max-msg", "4194304"]).await?;
    let service = micro_runtime::Service::new("peer.client")
        .registry(micro_runtime::registry::Fixed::new([address]))
        .build()
        .map_err(|error| format!("{error:?}"))?;
    let peer = new_peer_service("peers", service.client());
    common(report, "we -> grpcgo", &peer).await;
    for code in 1..=16 {
        let result = match peer.fail(fault(code)).await {
            Err(status) => same("code", &Code::from_number(code.into()), &status.code())
                .and_then(|()| same("message", &"as asked <&> 100%", &status.message()))
                .and_then(|()| same("typed details", &1, &status.details().len())),
            Ok(_) => Err("expected an error, found a reply".to_owned()),
        };
        report.case(&format!("we -> grpcgo: fail {code}"), result);
    }
    report.case("we -> grpcgo: metadata both ways", metadata(&peer).await);
    process.stop().await
}

/// What every server of the suite does.
pub(crate) async fn common(report: &mut Report, title: &str, peer: &PeerService) {
    let mut case = |name: &str, result| report.case(&format!("{title}: {name}"), result);
    case("unary", unary(peer).await);
    case("count", counted(peer).await);
    case("failing count", failing_count(peer).await);
    case("chat", chat(peer).await.map_err(|status| text(&status)));
    case("collect", collect(peer).await);
    // A server keeps what it knows of calls by name: one of another round must not be taken for this one's.
    let own = |what: &str| format!("{title}: {what}");
    case(
        "cancelled stream",
        cancelled_stream(peer, &own("stream")).await,
    );
    case("cancelled call", cancelled_call(peer, &own("call")).await);
    case("deadline", deadline(peer, &own("deadline")).await);
    case("large reply", large_reply(peer).await);
    case("large request", large_request(peer).await);
    case("panic", panicked(peer).await);
    case("parallel", parallel(peer).await);
    case("unary again", unary(peer).await);
}

pub(crate) async fn unary(peer: &PeerService) -> Result<(), String> {
    let reply = peer.unary(full_request()).await.map_err(|s| text(&s))?;
    same("reply", &echo(full_request()), &reply)
}

pub(crate) async fn micro_fault(peer: &PeerService, code: i32) -> Result<(), String> {
    match peer.fail(fault(code)).await {
        Err(status) => {
            same("id", &"peer.fail", &status.id())?;
            same("micro code", &code, &status.micro_code())?;
            same("message", &"as asked <&> 100%", &status.message())?;
            same("code", &Code::from_micro_code(code), &status.code())
        }
        Ok(_) => Err("expected an error, found a reply".to_owned()),
    }
}

pub(crate) async fn counted(peer: &PeerService) -> Result<(), String> {
    let all = async {
        let request = Req {
            count: 500,
            ..named("count")
        };
        let mut replies = peer.count(request).await?;
        let mut numbers = Vec::new();
        while let Some(next) = replies.recv().await? {
            numbers.push(next.count);
        }
        Ok(numbers)
    };
    let numbers = all.await.map_err(|status: Status| text(&status))?;
    same("numbers", &(0..500).collect::<Vec<_>>(), &numbers)
}

async fn failing_count(peer: &PeerService) -> Result<(), String> {
    let mut replies = peer.failing_count(fault(5)).await.map_err(|s| text(&s))?;
    for number in 0..3 {
        let next = replies.recv().await.map_err(|s| text(&s))?;
        same("number", &Some(number), &next.map(|rsp| rsp.count))?;
    }
    match replies.recv().await {
        Err(status) => same("message", &"as asked <&> 100%", &status.message()),
        Ok(found) => Err(format!("expected an error, found {found:?}")),
    }
}

pub(crate) async fn chat(peer: &PeerService) -> Result<()> {
    let (mut requests, mut replies) = peer.chat().await?;
    for number in 0..50 {
        let name = format!("m{number}");
        requests.send(named(&name)).await?;
        let reply = replies.recv().await?.unwrap_or_default();
        if reply.msg != format!("Hello {name}") {
            return Err(Status::internal(format_args!("found {:?}", reply.msg)));
        }
    }
    requests.finish().await?;
    match replies.recv().await? {
        None => Ok(()),
        Some(found) => Err(Status::internal(format_args!(
            "found {found:?} after the end"
        ))),
    }
}

pub(crate) async fn collect(peer: &PeerService) -> Result<(), String> {
    let reply = async {
        let mut requests = peer.collect().await?;
        for number in 0..20 {
            requests.send(named(&format!("m{number}"))).await?;
        }
        requests.finish().await
    };
    let reply = reply.await.map_err(|status: Status| text(&status))?;
    same("count", &20, &reply.count)
}

/// How the handler of the last call under a name ended.
async fn ended(peer: &PeerService, name: &str) -> Result<Rsp, String> {
    let request = Req {
        millis: 4000,
        ..named(name)
    };
    peer.last_cancelled(request).await.map_err(|s| text(&s))
}

async fn cancelled_stream(peer: &PeerService, name: &str) -> Result<(), String> {
    let request = Req {
        count: -1,
        millis: 10,
        ..named(name)
    };
    let mut replies = peer.count(request).await.map_err(|s| text(&s))?;
    replies.recv().await.map_err(|s| text(&s))?;
    drop(replies);
    same(
        "handler",
        &"cancelled".to_owned(),
        &ended(peer, name).await?.msg,
    )
}

async fn cancelled_call(peer: &PeerService, name: &str) -> Result<(), String> {
    let request = Req {
        millis: 60_000,
        ..named(name)
    };
    let call = tokio::spawn(peer.sleep(request));
    let started = Req {
        millis: 4000,
        tags: vec!["started".into()],
        ..named(name)
    };
    let begun = peer.last_cancelled(started).await.map_err(|s| text(&s))?;
    same("before", &"running".to_owned(), &begun.msg)?;
    call.abort();
    same(
        "handler",
        &"cancelled".to_owned(),
        &ended(peer, name).await?.msg,
    )
}

pub(crate) async fn deadline(peer: &PeerService, name: &str) -> Result<(), String> {
    let request = Req {
        millis: 60_000,
        ..named(name)
    };
    match peer
        .sleep(request)
        .timeout(Duration::from_millis(300))
        .await
    {
        Err(status) => same("code", &Code::DeadlineExceeded, &status.code())?,
        Ok(_) => return Err("expected an error, found a reply".to_owned()),
    }
    same(
        "handler",
        &"cancelled".to_owned(),
        &ended(peer, name).await?.msg,
    )
}

pub(crate) async fn large_reply(peer: &PeerService) -> Result<(), String> {
    let request = Req {
        count: 5 * 1024 * 1024,
        ..named("large")
    };
    match peer.large(request).await {
        Err(status) => same("code", &Code::ResourceExhausted, &status.code()),
        Ok(_) => Err("expected an error, found a reply".to_owned()),
    }
}

/// Larger than every server's limit: go-micro's were told 8,000,000 bytes, grpc-go's has 4 MiB.
async fn large_request(peer: &PeerService) -> Result<(), String> {
    let request = Req {
        payload: vec![0; 9_000_000],
        ..named("large")
    };
    match peer.unary(request).await {
        Err(status) => same("code", &Code::ResourceExhausted, &status.code()),
        Ok(_) => Err("expected an error, found a reply".to_owned()),
    }
}

async fn panicked(peer: &PeerService) -> Result<(), String> {
    match peer.panic(named("as asked")).await {
        Err(status) => same("code", &Code::Internal, &status.code()),
        Ok(_) => Err("expected an error, found a reply".to_owned()),
    }
}

async fn parallel(peer: &PeerService) -> Result<(), String> {
    let calls: Vec<_> = (0..300)
        .map(|number| tokio::spawn(peer.unary(named(&format!("n{number}")))))
        .collect();
    for (number, call) in calls.into_iter().enumerate() {
        let reply = call
            .await
            .map_err(|error| error.to_string())?
            .map_err(|s| text(&s))?;
        same("message", &format!("Hello n{number}"), &reply.msg)?;
    }
    Ok(())
}

async fn wrong_handler(client: &Client, name: &str) -> Result<(), String> {
    let call = client
        .request(name, "Nope.Unary")
        .json(serde_json::json!({"name": "a"}));
    match call.await {
        Err(status) => same("code", &Code::Unimplemented, &status.code()),
        Ok(_) => Err("expected an error, found a reply".to_owned()),
    }
}

async fn metadata(peer: &PeerService) -> Result<(), String> {
    let response = peer
        .headers(named("a"))
        .metadata("x-foo-bar", "Baz")
        .with_response()
        .await
        .map_err(|s| text(&s))?;
    let seen = response.message().meta.get("x-foo-bar").cloned();
    same("metadata", &Some("Baz".to_owned()), &seen)?;
    let headers = response.headers();
    let values: Vec<_> = headers.get_all("x-peer-header").collect();
    same("headers", &vec!["one", "two"], &values)?;
    let bytes = headers
        .get_bin("x-peer-data-bin")
        .map(|bytes| bytes.to_vec());
    same("bytes", &Some(vec![0, 1, 0xff]), &bytes)?;
    same(
        "trailer",
        &Some("end"),
        &response.trailers().get("x-peer-trailer"),
    )
}
