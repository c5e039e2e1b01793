//! The same calls over TLS, both ways, and each reason for which one side refuses the other.
//!
//! Every server here asks for a certificate of the client too (mTLS), unless a case says otherwise.

use std::path::PathBuf;

use micro_runtime::registry::{Fixed, Mdns};
use micro_runtime::service::Running;
use micro_runtime::transport::{ClientTls, ServerTls};
use micro_runtime::{Client, Code, Error, Service};
use micro_tests::certs::{Authority, Folder, Wish};
use micro_tests::go::{Process, Program};
use micro_tests::peer::v1::{PeerService, Req, Rsp, new_peer_service};
use micro_tests::peer::{self, Peer};
use serde_json::Value;

use crate::go_calls_us::{self, Check, ok};
use crate::report::{Report, holds, same};
use crate::we_call_go;

/// Who the clients are, on both sides.
const CLIENT: &str = "client.peers.example";
/// Who the servers are, beside 127.0.0.1.
const SERVER: &str = "server.peers.example";

/// The files that both sides are given.
struct Files {
    folder: Folder,
    authority: Authority,
}

fn shown(error: &Error) -> String {
    format!("{error:?}")
}

pub(crate) async fn run(
    report: &mut Report,
    go_micro: &[Program],
    grpc_go: &Program,
) -> Result<(), String> {
    let files = Files::new();
    let running = serve("peers.secured", files.server()).await?;
    for program in go_micro.iter().chain([grpc_go]) {
        let address = running.address();
        let whom = match program.name {
            // Told where we are; the others find us by name.
            "grpcgo" => ["--address", &address],
            _ => ["--name", "peers.secured"],
        };
        go_calls(report, program, &files, &whom).await;
    }
    running.stop().await.map_err(|error| shown(&error))?;

    for program in go_micro.iter().chain([grpc_go]) {
        we_call(report, program, &files).await?;
    }
    for program in go_micro.iter().filter(|program| program.name == "gomicro5") {
        http_transport(report, program, &files).await?;
    }
    Ok(())
}

// ===== impl Files =====

impl Files {
    fn new() -> Files {
        let (folder, authority) = (Folder::new(), Authority::new("peers"));
        let other = Authority::new("somebody else");
        folder.write("ca.pem", &authority.pem);
        folder.write("other-ca.pem", &other.pem);
        let client = || Wish::good().nameless().dns(CLIENT);
        for (name, identity) in [
            ("server", authority.sign(Wish::good().dns(SERVER))),
            ("client", authority.sign(client())),
            ("stranger", other.sign(client())),
        ] {
            let _ = folder.identity(name, &identity);
        }
        Files { folder, authority }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A server of ours.
    fn server(&self) -> ServerTls {
        ServerTls::from_files(self.path("server.pem"), self.path("server.key"))
            .client_ca_file(self.path("ca.pem"))
    }

    /// A client of ours that trusts the authority, and is this one.
    fn client(&self, name: &str) -> ClientTls {
        let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
        self.trusting()
            .identity_files(self.path(&certificate), self.path(&key))
    }

    /// A client of ours that is nobody.
    fn trusting(&self) -> ClientTls {
        ClientTls::new().ca_pem(&self.authority.pem)
    }

    /// The flags of a Go program with these authorities, and this identity.
    fn flags(&self, ca: &str, name: Option<&str>) -> Vec<String> {
        let mut flags = vec![format!("--tls_ca={}", self.text(ca))];
        flags.extend(name.into_iter().flat_map(|name| self.identity(name)));
        flags
    }

    fn identity(&self, name: &str) -> [String; 2] {
        [
            format!("--tls_cert={}", self.text(&format!("{name}.pem"))),
            format!("--tls_key={}", self.text(&format!("{name}.key"))),
        ]
    }
}

// ===== Go calls us =====

async fn serve(name: &str, tls: ServerTls) -> Result<Running, String> {
    let service = Service::new(name)
        .address("127.0.0.1:0")
        .registry(Mdns::new().loopback_only())
        .tls(tls)
        .build()
        .map_err(|error| shown(&error))?;
    peer::v1::register_peer_handler(service.server(), Peer::default())
        .map_err(|error| shown(&error))?;
    service.start().await.map_err(|error| shown(&error))
}

/// Every case over mTLS, the main ones over TLS 1.2, and each reason to refuse.
async fn go_calls(report: &mut Report, program: &Program, files: &Files, whom: &[&str]) {
    let named: Check = |answer| {
        ok(answer)?;
        let seen = &answer["rsp"]["meta"]["tls"];
        same("the caller's name", &Value::from(CLIENT), seen)
    };
    let good = files.flags("ca.pem", Some("client"));
    let with = |flags: &[String], more: &[&str]| -> Vec<String> {
        let whom = whom.iter().chain(more).map(|word| (*word).to_owned());
        whom.chain(flags.iter().cloned()).collect()
    };
    // Calls are counted: a call that fails is not made again.
    let retries: &[&str] = match program.name {
        "grpcgo" => &[],
        _ => &["--retries", "0"],
    };
    let every = with(&good, retries);
    go_calls_us::every(report, program, " over mTLS", &words(&every)).await;

    for version in ["1.2", "1.3"] {
        let flags = with(&good, &["--tls_version", version]);
        let title = format!(" over TLS {version} alone");
        let main: &[(&str, Check)] = &[
            ("unary", ok),
            ("count:200", ok),
            ("chat", ok),
            ("headers", named),
            ("parallel:200", ok),
        ];
        go_calls_us::run(report, program, &title, &words(&flags), main).await;
    }

    // The gRPC of go-micro v2 (1.26) does not tell what happened once the handshake was over for its side.
    let unsaid = program.name == "gomicro2";
    let refusals: [(&str, Vec<String>, Check); 5] = [
        (
            "trusts another authority",
            files.flags("other-ca.pem", Some("client")),
            |answer| refused(answer, "certificate signed by unknown authority"),
        ),
        (
            "expects another name",
            [
                files.flags("ca.pem", Some("client")),
                vec!["--tls_server_name=other.example".to_owned()],
            ]
            .concat(),
            |answer| refused(answer, "not other.example"),
        ),
        (
            "has no certificate",
            files.flags("ca.pem", None),
            match unsaid {
                true => |answer| refused(answer, ""),
                false => |answer| refused(answer, "certificate required"),
            },
        ),
        (
            // Go shows none that the server has not said to trust.
            "has another authority's certificate",
            files.flags("ca.pem", Some("stranger")),
            match unsaid {
                true => |answer| refused(answer, ""),
                false => |answer| refused(answer, "certificate required"),
            },
        ),
        (
            // grpc-go hears our goodbye, and keeps its text to itself.
            "speaks plain text",
            Vec::new(),
            match unsaid {
                true => |answer| refused(answer, ""),
                false => |answer| refused(answer, "draining"),
            },
        ),
    ];
    for (what, flags, check) in refusals {
        let flags = with(&flags, retries);
        let title = format!(" and {what}");
        go_calls_us::run(report, program, &title, &words(&flags), &[("unary", check)]).await;
    }
}

fn words(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

/// It failed, and says why.
fn refused(answer: &Value, why: &str) -> Result<(), String> {
    same("ok", &Value::Bool(false), &answer["ok"])?;
    let error = answer["error"].to_string();
    holds(why, error.contains(why), &error)
}

// ===== We call Go =====

/// A program that serves over TLS, and where.
async fn go_serves(
    program: &Program,
    name: &str,
    flags: &[String],
) -> Result<(Process, String), String> {
    let arguments = match program.name {
        "grpcgo" => vec!["--max-msg", "4194304"],
        _ => vec!["--name", name, "--max-msg", "8000000"],
    };
    program
        .serve(&[&arguments[..], &words(flags)].concat())
        .await
}

/// A client of ours for the nodes of a program, found by name where it registers itself.
fn client(program: &Program, address: &str, tls: Option<ClientTls>) -> Result<Client, String> {
    let mut builder = Service::new("peer.client");
    builder = match program.name {
        "grpcgo" => builder.registry(Fixed::new([address])),
        _ => builder.registry(Mdns::new().loopback_only()),
    };
    if let Some(tls) = tls {
        builder = builder.client_tls(tls);
    }
    Ok(builder
        .build()
        .map_err(|error| shown(&error))?
        .client()
        .clone())
}

async fn we_call(report: &mut Report, program: &Program, files: &Files) -> Result<(), String> {
    let go = program.name;
    let server = |more: &[&str]| -> Vec<String> {
        let more = more.iter().map(|word| (*word).to_owned());
        let client_ca = format!("--tls_client_ca={}", files.text("ca.pem"));
        files
            .identity("server")
            .into_iter()
            .chain([client_ca])
            .chain(more)
            .collect()
    };

    // Every case, and each reason to refuse, against one and the same server.
    let name = format!("peers.secured.{go}");
    let (process, address) = go_serves(program, &name, &server(&[])).await?;
    let peer = |tls: Option<ClientTls>| -> Result<PeerService, String> {
        Ok(new_peer_service(&name, &client(program, &address, tls)?))
    };
    let secured = peer(Some(files.client("client")))?;
    we_call_go::common(report, &format!("we -> {go} over mTLS"), &secured).await;
    let by_name = peer(Some(files.client("client").server_name(SERVER)))?;
    report.case(
        &format!("we -> {go} over mTLS, by the service's name"),
        we_call_go::unary(&by_name).await,
    );
    let other = || ClientTls::new().ca_file(files.path("other-ca.pem"));
    for (what, tls, why) in [
        (
            "trust another authority",
            Some(other()),
            "comes from an authority that is not trusted here",
        ),
        (
            "expect another name",
            Some(files.client("client").server_name("other.example")),
            "is for other names: expected other.example",
        ),
        (
            "have no certificate",
            Some(files.trusting()),
            "it requires a certificate and was given none",
        ),
        (
            "have another authority's certificate",
            Some(files.client("stranger")),
            "it does not trust the authority of our certificate",
        ),
        (
            "speak plain text",
            None,
            "if it speaks TLS there, give the client TLS",
        ),
    ] {
        let result = unavailable(&peer(tls)?, why).await;
        report.case(&format!("we -> {go} and {what}"), result);
    }
    process.stop().await?;

    // One version alone; and TLS under go-micro's server, which then cannot say that HTTP/2 follows.
    let by: &[&str] = match go {
        "grpcgo" => &["server"],
        _ => &["server", "listener"],
    };
    for by in by {
        for version in ["1.2", "1.3"] {
            let name = format!("peers.secured.{go}.{by}.{version}");
            let version_flag = format!("--tls_version={version}");
            let by_flag = format!("--tls_by={by}");
            let more = match go {
                "grpcgo" => vec![version_flag.as_str()],
                _ => vec![version_flag.as_str(), by_flag.as_str()],
            };
            let (process, address) = go_serves(program, &name, &server(&more)).await?;
            let client = client(program, &address, Some(files.client("client")))?;
            let peer = new_peer_service(&name, &client);
            let title = format!("we -> {go} over TLS {version} by its {by}");
            brief(report, &title, &peer, *by == "server", version).await;
            process.stop().await?;
        }
    }

    // Nobody speaks TLS there.
    let name = format!("peers.plain.{go}");
    let (process, address) = go_serves(program, &name, &[]).await?;
    let client = client(program, &address, Some(files.client("client")))?;
    let peer = new_peer_service(&name, &client);
    let why = "the server speaks plain text on this port, not TLS";
    let result = unavailable(&peer, why).await;
    report.case(&format!("we speak TLS -> {go} in plain text"), result);
    process.stop().await
}

/// The main cases; and who the server takes us for, if it knows.
async fn brief(report: &mut Report, title: &str, peer: &PeerService, knows: bool, version: &str) {
    let mut case = |name: &str, result| report.case(&format!("{title}: {name}"), result);
    case("unary", we_call_go::unary(peer).await);
    case("count", we_call_go::counted(peer).await);
    let chat = we_call_go::chat(peer).await;
    case("chat", chat.map_err(|status| format!("{status:?}")));
    case("collect", we_call_go::collect(peer).await);
    case("large reply", we_call_go::large_reply(peer).await);
    let name = format!("{title}: deadline");
    case("deadline", we_call_go::deadline(peer, &name).await);
    let seen = match peer.headers(we_call_go::named("a")).await {
        Ok(Rsp { mut meta, .. }) => {
            let expected = knows.then(|| format!("TLS {version}, h2, {CLIENT}"));
            same("our name", &expected, &meta.remove("tls"))
        }
        Err(status) => Err(format!("{status:?}")),
    };
    case("who we are", seen);
}

/// The call fails with UNAVAILABLE, and says why.
async fn unavailable(peer: &PeerService, why: &str) -> Result<(), String> {
    match peer.unary(Req::default()).await {
        Err(status) => {
            same("code", &Code::Unavailable, &status.code())?;
            holds(why, status.message().contains(why), &status)
        }
        Ok(_) => Err("expected an error, found a reply".to_owned()),
    }
}

// ===== go-micro's HTTP transport =====

/// Over its HTTP transport go-micro speaks its own protocol (mucp), which is not spoken here: with TLS both
/// sides are told so, as they are without.
async fn http_transport(
    report: &mut Report,
    program: &Program,
    files: &Files,
) -> Result<(), String> {
    let running = serve("peers.secured.mucp", files.server()).await?;
    let flags = files.flags("ca.pem", Some("client"));
    for (with, flags) in [
        (" by its HTTP transport", flags),
        (
            " by its HTTP transport, unverified",
            vec!["--tls_insecure=true".to_owned()],
        ),
    ] {
        let whom = [
            "--kind",
            "mucp",
            "--name",
            "peers.secured.mucp",
            "--retries",
            "0",
        ];
        let arguments = [&whom[..], &words(&flags)].concat();
        let check: Check = |answer| refused(answer, "no application protocol");
        go_calls_us::run(report, program, with, &arguments, &[("unary", check)]).await;
    }
    running.stop().await.map_err(|error| shown(&error))?;

    let name = "peers.mucp";
    let flags = files.identity("server");
    let arguments = [&["--kind", "mucp", "--name", name][..], &words(&flags)].concat();
    let (process, address) = program.serve(&arguments).await?;
    let client = client(program, &address, Some(files.trusting()))?;
    let peer = new_peer_service(name, &client);
    let result = unavailable(&peer, "does not answer in HTTP/2").await;
    report.case("we -> gomicro5's HTTP transport over TLS", result);
    process.stop().await
}
