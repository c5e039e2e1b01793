//! `micro publish` and `micro subscribe` as people use them: over the embedded broker, found by multicast DNS on
//! loopback.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// What the system calls the loopback interface.
const LOOPBACK: &str = if cfg!(target_os = "macos") {
    "lo0"
} else {
    "lo"
};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(60);

fn micro(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_micro"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MICRO_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .args(["--registry_address", LOOPBACK])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Exit code, output and errors of a run.
async fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = tokio::time::timeout(LIMIT, micro(arguments).output());
    let output = output.await.expect("it hangs").unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[tokio::test]
async fn what_is_published_is_printed() {
    let topic = format!("cli.events.{}", std::process::id());
    let mut subscriber = micro(&["subscribe", &topic, "--count", "2", "--output", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = BufReader::new(subscriber.stderr.take().unwrap()).lines();
    let mut lines = BufReader::new(subscriber.stdout.take().unwrap()).lines();
    let waiting = format!("waiting for events of {topic}");
    // Behind what the log says.
    while tokio::time::timeout(LIMIT, errors.next_line())
        .await
        .expect("it hangs")
        .unwrap()
        .expect("it ended")
        != waiting
    {}

    for (event, header) in [(r#"{"name": "a"}"#, "x-mood=good"), ("{}", "x-mood=bad")] {
        let published = run(&["publish", &topic, event, "--metadata", header]).await;
        assert_eq!(published, (0, "ok\n".to_owned(), String::new()));
        let line = tokio::time::timeout(LIMIT, lines.next_line());
        let line = line.await.expect("it hangs").unwrap().unwrap();
        let seen: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(seen["topic"], topic.as_str());
        assert_eq!(
            seen["body"],
            serde_json::from_str::<Value>(event).unwrap(),
            "{line}"
        );
        let headers = &seen["headers"];
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["micro-topic"], topic.as_str());
        assert_eq!(headers["micro-from-service"], "micro.cli");
        assert_eq!(
            format!("x-mood={}", headers["x-mood"].as_str().unwrap()),
            header
        );
    }
    let status = tokio::time::timeout(LIMIT, subscriber.wait());
    assert!(status.await.expect("it does not end").unwrap().success());
}

#[tokio::test]
async fn what_cannot_be_done_is_said() {
    for (arguments, why) in [
        (&["publish", "t", "[1]"][..], "as a JSON object"),
        (&["publish", "t", "{"], "as a JSON object"),
        (&["publish", "a b", "{}"], "expected a topic"),
        (&["publish", "t", "{}", "--at-least-once"], "at least once"),
        (&["subscribe", "t", "--at-least-once"], "at least once"),
        (&["subscribe", ""], "expected a topic"),
        (&["subscribe", "t", "--broker", "pigeon"], "pigeon"),
    ] {
        let (code, out, err) = run(arguments).await;
        assert_eq!((code, out.as_str()), (1, ""), "{arguments:?}: {err}");
        assert!(err.contains(why), "{arguments:?}: {err}");
        assert_eq!(err.lines().count(), 1, "{arguments:?}: {err}");
    }
}
