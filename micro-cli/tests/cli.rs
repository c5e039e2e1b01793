//! The command as people use it, against a service in this process, over multicast DNS on loopback.

use std::process::Stdio;
use std::time::Duration;

use micro_runtime::Service;
use micro_runtime::registry::Mdns;
use micro_runtime::service::Running;
use micro_tests::front;
use micro_tests::peer::Peer;
use micro_tests::peer::v1::register_peer_handler;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// What the system calls the loopback interface.
const LOOPBACK: &str = if cfg!(target_os = "macos") {
    "lo0"
} else {
    "lo"
};

/// What a run of the command said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    /// What it printed when all went well.
    fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }

    /// The one line that says what went wrong.
    fn failed(self) -> String {
        assert_eq!((self.code, self.out.as_str()), (1, ""), "{}", self.err);
        let line = self.err.strip_suffix('\n').unwrap();
        assert!(!line.contains('\n'), "{line}");
        line.to_owned()
    }
}

/// The command, without what the environment may say.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_micro"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MICRO_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn run(arguments: &[&str]) -> Said {
    let output = command(arguments).output();
    let output = tokio::time::timeout(Duration::from_secs(60), output);
    let output = output.await.expect("it hangs").unwrap();
    Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Over mDNS, on loopback.
async fn micro(arguments: &[&str]) -> Said {
    run(&[arguments, &["--registry_address", LOOPBACK]].concat()).await
}

fn unique(what: &str) -> String {
    format!("cli.{what}.{}", std::process::id())
}

fn node(name: &str) -> Service {
    Service::new(name)
        .version("1.2.3")
        .id("one")
        .address("127.0.0.1:0")
        .metadata("zone", "b")
        .registry(Mdns::new().loopback_only())
        .build()
        .unwrap()
}

async fn serve(name: &str) -> Running {
    let service = node(name);
    register_peer_handler(service.server(), Peer::default()).unwrap();
    service.start().await.unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn lists_services_sorted_one_a_line() {
    let (a, b) = (unique("list.a"), unique("list.b"));
    let _running = (serve(&b).await, serve(&a).await);
    let out = micro(&["list", "services"]).await.ok();
    let lines: Vec<_> = out.lines().collect();
    assert!(lines.is_sorted(), "{out}");
    for name in [&a, &b] {
        let found = lines.iter().filter(|line| *line == name).count();
        assert_eq!(found, 1, "{out}");
    }
    let out = micro(&["list", "services", "--output", "json"]).await.ok();
    assert_eq!(out.trim_end().lines().count(), 1);
    assert!(json(&out).as_array().unwrap().contains(&Value::from(a)));
}

#[tokio::test]
async fn shows_a_service() {
    let name = unique("get");
    let running = serve(&name).await;
    let address = running.address();
    let out = micro(&["get", "service", &name]).await.ok();
    let begin = format!(
        "service  {name}\n\nversion 1.2.3\n\nID\tAddress\tMetadata\n{name}-one\t{address}\t\
         broker=http,protocol=grpc,registry=mdns,server=grpc,transport=grpc,zone=b\n\n\
         // Answers each message as Unary does, in order, until the client half-closes.\nEndpoint: Peer.Chat\n\n\
         Metadata: rpc=/peer.v1.Peer/Chat,stream=true\n\nRequest: {{}}\n\nResponse: {{}}\n"
    );
    assert!(out.starts_with(&begin), "{out}");
    let endpoint = "\n// Echoes every field of the request; `msg` is \"Hello \" + name.\nEndpoint: Peer.Unary\n\nMetadata: rpc=/peer.v1.Peer/Unary\n\nRequest: {\n\tname string\n";
    assert!(out.contains(endpoint), "{out}");

    let out = micro(&["--output=json", "get", "service", &name])
        .await
        .ok();
    assert_eq!(out.trim_end().lines().count(), 1);
    let services = json(&out);
    assert_eq!(services[0]["version"], "1.2.3");
    assert_eq!(services[0]["nodes"][0]["address"], address.as_str());
}

#[tokio::test]
async fn shows_what_the_proto_says_of_an_rpc() {
    let name = unique("options");
    let service = node(&name);
    front::register(service.server(), async |_, _| Ok(front::answer(""))).unwrap();
    let _running = service.start().await.unwrap();
    let out = micro(&["get", "service", &name]).await.ok();
    let look = "\n\n// Safe to repeat.\nEndpoint: Front.Look\n\n\
        HTTP: GET /v1/answers/{text}\nHTTP: POST /v1/answers body=*\n\n\
        Metadata: endpoint=Front.Look,handler=rpc,method=GET,path=/v1/answers/{text},rpc=/e2e.v1.Front/Look\n\n\
        // What is asked.\nRequest: {\n\ttext string\n\tmillis int64\n}\n\nResponse: {";
    assert!(out.contains(look), "{out}");
    let ask = "// Not to be repeated.\nEndpoint: Front.Ask\n\nMetadata: rpc=/e2e.v1.Front/Ask\n";
    assert!(out.contains(ask), "{out}");

    let out = micro(&["--output=json", "get", "service", &name])
        .await
        .ok();
    let metadata = &json(&out)[0]["endpoints"][1]["metadata"];
    assert_eq!(metadata["description"], "Safe to repeat.");
    assert_eq!(metadata["request_description"], "What is asked.");
    let rules = json(metadata["http"].as_str().unwrap());
    assert_eq!(rules[1]["path"], "/v1/answers");
}

#[tokio::test]
async fn calls_and_prints_the_reply() {
    let name = unique("call");
    let running = serve(&name).await;
    let out = micro(&["call", &name, "Peer.Unary", r#"{"name": "World ^_^"}"#])
        .await
        .ok();
    assert_eq!(json(&out)["msg"], "Hello World ^_^");
    assert!(out.starts_with("{\n\t\""), "{out}");

    // Words that a shell has parted, and the full path.
    let words = ["{", "\"name\":", "\"a", "b\"", "}", "--output=json"];
    let call = ["call", &name, "/peer.v1.Peer/Unary"];
    let out = micro(&[&call[..], &words].concat()).await.ok();
    assert_eq!(out.trim_end().lines().count(), 1);
    assert_eq!(json(&out)["msg"], "Hello a b");

    // No request is an empty one.
    let metadata = ["--metadata", "x-a=1", "--metadata", "x-b=c=d"];
    let call = ["call", &name, "Peer.Headers"];
    let out = micro(&[&call[..], &metadata].concat()).await.ok();
    let meta = &json(&out)["meta"];
    assert_eq!((&meta["x-a"], &meta["x-b"]), (&"1".into(), &"c=d".into()));

    // Without a look-up.
    let address = running.address();
    let nobody = unique("nobody");
    let call = ["call", &nobody, "Peer.Unary", "{}", "--address", &address];
    assert_eq!(json(&micro(&call).await.ok())["msg"], "Hello ");
    let fixed = ["--registry", "fixed", "--registry_address", &address];
    let call = ["call", "whatever", "Peer.Unary", r#"{"name":"f"}"#];
    let out = run(&[&call[..], &fixed].concat()).await.ok();
    assert_eq!(json(&out)["msg"], "Hello f");
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let nobody = unique("nobody");
    for arguments in [
        &["get", "service", &nobody][..],
        &["call", &nobody, "Peer.Unary"],
    ] {
        let line = micro(arguments).await.failed();
        // What was looked for, in which registry, for how long.
        assert!(line.contains(&nobody) && line.contains("mdns"), "{line}");
        let seconds = format!("{line} ").into_bytes();
        let seconds = seconds.windows(3).any(|window| {
            matches!(window, [digit, b's', _] | [digit, b' ', b's'] if digit.is_ascii_digit())
        });
        assert!(seconds, "{line}");
    }
}

#[tokio::test]
async fn what_a_service_refuses_is_told() {
    let name = unique("refused");
    let running = serve(&name).await;
    let line = micro(&["call", &name, "Peer.Nothing"]).await.failed();
    assert!(
        line.contains("UNIMPLEMENTED") && line.contains("Nothing"),
        "{line}"
    );
    let fault = r#"{"fault": {"code": 418, "id": "tea", "detail": "short and stout"}}"#;
    let line = micro(&["call", &name, "Peer.Fail", fault]).await.failed();
    assert!(line.contains("short and stout"), "{line}");
    let sleep = [
        "call",
        &name,
        "Peer.Sleep",
        r#"{"millis": 60000}"#,
        "--timeout",
        "200ms",
    ];
    let line = micro(&sleep).await.failed();
    assert!(line.contains("DEADLINE_EXCEEDED"), "{line}");

    // A node that is gone.
    let address = running.address();
    running.stop().await.unwrap();
    let call = ["call", &name, "Peer.Unary", "{}", "--address", &address];
    let line = micro(&call).await.failed();
    assert!(line.contains(&address), "{line}");
}

#[tokio::test]
async fn what_is_wrong_on_the_command_line_is_told() {
    for request in ["{\"name\":", "[]", "\"text\"", "7", "{} {}"] {
        let line = micro(&["call", "anything", "Peer.Unary", request])
            .await
            .failed();
        assert!(line.contains("JSON object"), "{line}");
    }
    let line = run(&["list", "services", "--registry", "nonsense"])
        .await
        .failed();
    assert!(line.contains("nonsense") && line.contains("mdns"), "{line}");
    let line = run(&["list", "services", "--registry_address=10.0.0.7:8500"])
        .await
        .failed();
    assert!(
        line.contains("interfaces") && line.contains("MICRO_REGISTRY"),
        "{line}"
    );
    let fixed = ["--registry", "fixed", "--registry_address", "no address"];
    let line = run(&[&["call", "a", "B.C"][..], &fixed].concat())
        .await
        .failed();
    assert!(line.contains("no address"), "{line}");
    let line = micro(&["call", "a", "no-endpoint", "--address=127.0.0.1:1"])
        .await
        .failed();
    assert!(line.contains("no-endpoint"), "{line}");
    for arguments in [
        &["lists"][..],
        &[],
        &["call"],
        &["call", "a", "B.C", "--timeout", "5"],
    ] {
        let said = run(arguments).await;
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{arguments:?}");
        assert!(
            said.err.contains("Usage") || said.err.contains("--help"),
            "{}",
            said.err
        );
    }
    assert!(run(&["--help"]).await.ok().contains("list"));
    assert!(run(&["--version"]).await.ok().starts_with("micro 0."));
}

/// A `micro watch` that runs.
#[cfg(unix)]
struct Watch {
    child: Child,
    out: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
    err: tokio::io::Lines<BufReader<tokio::process::ChildStderr>>,
}

#[cfg(unix)]
impl Watch {
    async fn start(arguments: &[&str]) -> Watch {
        let mut child = command(&[&["watch"], arguments].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Watch {
            out: BufReader::new(child.stdout.take().unwrap()).lines(),
            err: BufReader::new(child.stderr.take().unwrap()).lines(),
            child,
        }
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(Duration::from_secs(60), self.out.next_line());
        line.await.expect("no line").unwrap().expect("it has ended")
    }

    async fn told(&mut self) -> String {
        let line = tokio::time::timeout(Duration::from_secs(60), self.err.next_line());
        line.await.expect("no line").unwrap().expect("it has ended")
    }

    /// Asks it to end; what it said then, and its exit status.
    async fn end(mut self, signal: &str) -> i32 {
        let pid = self.child.id().unwrap().to_string();
        let kill = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(kill.await.unwrap().success());
        let end = tokio::time::timeout(Duration::from_secs(60), self.child.wait());
        end.await.expect("it does not end").unwrap().code().unwrap()
    }
}

#[cfg(unix)]
#[tokio::test]
async fn watches_a_service_come_and_go() {
    let name = unique("watch");
    let loopback = ["--registry_address", LOOPBACK];
    let mut text = Watch::start(&[&[name.as_str()][..], &loopback].concat()).await;
    let mut json_ = Watch::start(&[&["--output", "json"][..], &loopback].concat()).await;
    for watch in [&mut text, &mut json_] {
        assert_eq!(watch.told().await, "mdns: watching");
    }
    let running = serve(&name).await;
    let address = running.address();
    let line = text.line().await;
    let words: Vec<_> = line.split('\t').collect();
    let node = format!("{name}-one");
    assert_eq!(
        words[1..6],
        ["create", &name, "1.2.3", &node, &address],
        "{line}"
    );
    assert!(
        words[0].ends_with('Z') && words[6].contains("zone=b"),
        "{line}"
    );
    // Of all services, others of this machine among them.
    let about = async |watch: &mut Watch, action: &str| loop {
        let event = json(&watch.line().await);
        if event["Action"] == action && event["Service"]["name"] == name.as_str() {
            return event;
        }
    };
    let event = about(&mut json_, "create").await;
    assert_eq!(event["Service"]["nodes"][0]["address"], address.as_str());

    running.stop().await.unwrap();
    about(&mut json_, "delete").await;
    loop {
        let line = text.line().await;
        if line.contains("\tdelete\t") {
            assert!(line.contains(&name), "{line}");
            break;
        }
    }
    assert_eq!(text.end("TERM").await, 0);
    assert_eq!(json_.end("INT").await, 0);
}

/// Whoever read its lines has gone: it ends at the next one.
#[cfg(unix)]
#[tokio::test]
async fn a_watch_that_nobody_reads_ends() {
    let name = unique("unread");
    let mut watch = Watch::start(&[&name, "--registry_address", LOOPBACK]).await;
    assert_eq!(watch.told().await, "mdns: watching");
    let Watch { mut child, out, .. } = watch;
    drop(out);
    let running = serve(&name).await;
    let end = tokio::time::timeout(Duration::from_secs(60), child.wait());
    assert_eq!(end.await.expect("it goes on").unwrap().code(), Some(0));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn no_service_is_no_line() {
    assert_eq!(
        run(&["list", "services", "--registry", "memory"])
            .await
            .ok(),
        ""
    );
    let json = ["list", "services", "--registry", "memory", "--output=json"];
    assert_eq!(run(&json).await.ok(), "[]\n");
}

#[cfg(feature = "dns")]
#[tokio::test]
async fn a_watch_that_cannot_be_ends() {
    let dns = [
        "--registry",
        "dns",
        "--registry_address",
        "{service}.example,127.0.0.1:1",
    ];
    let line = run(&[&["watch"][..], &dns].concat()).await.failed();
    assert!(
        line.starts_with("dns: ") && line.contains("only a service that is named"),
        "{line}"
    );
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn tls_is_refused_by_a_build_without_it() {
    let line = run(&["call", "a", "B.C", "--tls_ca_file", "ca.pem"])
        .await
        .failed();
    assert!(
        line.contains("--tls_ca_file") && line.contains("cargo feature tls"),
        "{line}"
    );
}

#[cfg(not(feature = "kubernetes"))]
#[tokio::test]
async fn a_registry_of_another_build_is_told_with_its_feature() {
    let line = run(&["list", "services", "--registry", "kubernetes"])
        .await
        .failed();
    assert!(line.contains("cargo feature \"kubernetes\""), "{line}");
}
