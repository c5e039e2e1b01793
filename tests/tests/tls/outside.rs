//! Programs that are not ours: `openssl` and `curl`.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::{good, in_time, serve, server};
use micro_tests::certs::{Authority, Folder, Wish};

/// Runs a program without input; both of its outputs, and whether it was content.
async fn run(program: &str, arguments: &[&str]) -> (String, bool) {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("expected the program {program}, found none: {error}"));
    // The end of its input ends `s_client`.
    let mut stdin = child.stdin.take().unwrap();
    stdin.shutdown().await.unwrap();
    drop(stdin);
    let output = in_time(child.wait_with_output()).await.unwrap();
    let [out, err] = [output.stdout, output.stderr];
    let text = [out, err].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (text.join("\n"), output.status.success())
}

#[tokio::test]
async fn openssl_agrees() {
    let (authority, running) = good().await;
    let folder = Folder::new();
    let ca = folder.write("ca.pem", &authority.pem);
    let ca = ca.to_str().unwrap();
    let address = running.address();
    let s_client = [
        "s_client",
        "-connect",
        &address,
        "-CAfile",
        ca,
        "-verify_return_error",
    ];
    let name = ["-servername", "localhost", "-verify_hostname", "localhost"];
    for (more, expected) in [
        (
            &["-tls1_3", "-alpn", "h2"][..],
            &["ALPN protocol: h2", "TLSv1.3", "Verify return code: 0 (ok)"][..],
        ),
        (
            &["-tls1_2", "-alpn", "h2"],
            &["ALPN protocol: h2", "TLSv1.2", "Verify return code: 0 (ok)"],
        ),
        (&["-alpn", "http/1.1,h2"], &["ALPN protocol: h2"]),
        (&["-alpn", "http/1.1"], &["no application protocol"]),
        (
            &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"],
            &["SSL alert number"],
        ),
    ] {
        let (text, _) = run("openssl", &[&s_client[..], &name, more].concat()).await;
        for words in expected {
            assert!(
                text.contains(words),
                "{more:?}: expected {words}, found {text}"
            );
        }
    }
}

#[tokio::test]
async fn openssl_shows_its_certificate() {
    let (authority, other) = (Authority::new("good"), Authority::new("other"));
    let tls = server(&authority.sign(Wish::good())).client_ca_pem(&authority.pem);
    let running = serve(tls).await;
    let folder = Folder::new();
    let ca = folder.write("ca.pem", &authority.pem);
    let ca = ca.to_str().unwrap();
    let address = running.address();
    for (by, words) in [
        (Some(&authority), "Verify return code: 0 (ok)"),
        (Some(&other), "alert unknown ca"),
        (None, "alert certificate required"),
    ] {
        // The alert follows the handshake: it has to be waited for.
        let mut arguments = vec![
            "s_client", "-connect", &address, "-CAfile", ca, "-tls1_3", "-alpn", "h2", "-ign_eof",
        ];
        let identity = by.map(|by| folder.identity("client", &by.sign(Wish::good())));
        if let Some((certificate, key)) = &identity {
            arguments.extend(["-cert", certificate.to_str().unwrap()]);
            arguments.extend(["-key", key.to_str().unwrap()]);
        }
        if by.is_some_and(|by| by.pem == authority.pem) {
            // Nothing follows here.
            arguments.retain(|argument| *argument != "-ign_eof");
        }
        let (text, _) = run("openssl", &arguments).await;
        assert!(text.contains(words), "expected {words}, found {text}");
    }
}

#[tokio::test]
async fn curl_calls() {
    let (authority, running) = good().await;
    let folder = Folder::new();
    let ca = folder.write("ca.pem", &authority.pem);
    // An empty question in gRPC's frame.
    let body = folder.write("body", [0; 5]);
    let body = format!("@{}", body.display());
    let address = running.address();
    let url = |scheme: &str| format!("{scheme}://{address}/e2e.v1.Front/Ask");
    let call = [
        "-sS",
        "--http2",
        "-v",
        "-H",
        "content-type: application/grpc",
        "-H",
        "te: trailers",
        "--data-binary",
        &body,
        "-o",
        "/dev/null",
        "--max-time",
        "30",
    ];
    let (text, ok) = run(
        "curl",
        &[
            &call[..],
            &["--cacert", ca.to_str().unwrap(), &url("https")],
        ]
        .concat(),
    )
    .await;
    assert!(ok, "{text}");
    assert!(
        text.contains("HTTP/2 200") && text.contains("grpc-status: 0"),
        "{text}"
    );
    // An authority that it does not trust, HTTP/1.1, and no TLS.
    let (text, ok) = run("curl", &[&call[..], &[&url("https")]].concat()).await;
    assert!(!ok && text.contains("certificate"), "{text}");
    let (text, ok) = run("curl", &["-sS", "-i", "--max-time", "30", &url("http")]).await;
    assert!(ok && text.contains("this port speaks TLS"), "{text}");
}
