//! A Kubernetes of an API server and its etcd.

use std::process::Stdio;
use std::time::{Duration, Instant};

use micro_runtime::registry::{Kubernetes, Service};
use micro_tests::servers::{Program, Ready, Server, free_ports};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::sleep;

/// May do everything.
const ADMIN: &str = "test-token";

/// What the docs say that pods need.
const ROLE: &str = include_str!("../../../micro-runtime/src/registry/kubernetes/role.yaml");

const PODS: &str = "/api/v1/namespaces/default/pods";

pub(crate) struct Cluster {
    server: Server,
    _etcd: Server,
    port: u16,
    ca: String,
}

impl Cluster {
    pub(crate) async fn start() -> Cluster {
        let [etcd_port, peers, port] = free_ports();
        let etcd = Program::find("etcd-3.6")
            .args([
                "--name",
                "t",
                "--data-dir",
                "{dir}/data",
                "--log-level",
                "warn",
            ])
            .arg(format!("--listen-client-urls=http://127.0.0.1:{etcd_port}"))
            .arg(format!(
                "--advertise-client-urls=http://127.0.0.1:{etcd_port}"
            ))
            .arg(format!("--listen-peer-urls=http://127.0.0.1:{peers}"))
            .arg(format!(
                "--initial-advertise-peer-urls=http://127.0.0.1:{peers}"
            ))
            .arg(format!("--initial-cluster=t=http://127.0.0.1:{peers}"))
            .start(Ready::http(etcd_port, "/health", "true"))
            .await;
        let program = Program::find("kube-apiserver").file(
            "tokens.csv",
            &format!("{ADMIN},admin,admin,system:masters\n"),
        );
        let key = program.folder().join("sa.key");
        let made = Command::new("openssl")
            .args(["genrsa", "-out"])
            .arg(&key)
            .arg("2048")
            .output();
        assert!(made.await.unwrap().status.success());
        let ca = program
            .folder()
            .join("certs/apiserver.crt")
            .to_string_lossy()
            .into_owned();
        let key = key.to_string_lossy().into_owned();
        let check = ca.clone();
        let server = program
            .arg(format!("--etcd-servers=http://127.0.0.1:{etcd_port}"))
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
            .arg(format!("--secure-port={port}"))
            .args([
                "--cert-dir={dir}/certs",
                "--token-auth-file={dir}/tokens.csv",
                "--authorization-mode=RBAC",
            ])
            .arg("--service-account-issuer=https://127.0.0.1")
            .arg(format!("--service-account-key-file={key}"))
            .arg(format!("--service-account-signing-key-file={key}"))
            .args([
                "--service-cluster-ip-range=10.0.0.0/24",
                "--endpoint-reconciler-type=none",
            ])
            .arg("--disable-admission-plugins=ServiceAccount,TaintNodesByCondition,Priority")
            .start(Ready::check(move || {
                let ca = check.clone();
                async move {
                    let (status, _) =
                        request(port, &ca, "GET", "/api/v1/namespaces/default", None).await;
                    status == 200 && request(port, &ca, "GET", "/readyz", None).await.0 == 200
                }
            }))
            .await;
        Cluster {
            server,
            _etcd: etcd,
            port,
            ca,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// As the one who may do everything, in one line.
    pub(crate) fn address(&self) -> String {
        format!("https://:{ADMIN}@127.0.0.1:{}?ca={}", self.port, self.ca)
    }

    /// As the one who may do everything.
    pub(crate) fn registry(&self) -> Kubernetes {
        Kubernetes::try_new([format!("{}?ca={}", self.url(), self.ca)])
            .unwrap()
            .token(ADMIN)
    }

    pub(crate) async fn kill9(&mut self) {
        self.server.kill9().await;
    }

    pub(crate) async fn restart(&mut self) {
        self.server.restart().await;
    }

    /// A pod that runs.
    pub(crate) async fn pod(&self, name: &str) {
        self.create_pod(json!({ "name": name })).await;
        self.phase(name, "Running").await;
    }

    /// A pod that runs and has a service.
    pub(crate) async fn pod_with(&self, name: &str, service: &Service) {
        let text = serde_json::to_string(service).unwrap();
        self.create_pod(json!({
            "name": name,
            "labels": { "micro.mu/type": "service", format!("micro.mu/selector-{}", service.name): "service" },
            "annotations": { format!("micro.mu/service-{}", service.name): text },
        }))
        .await;
        self.phase(name, "Running").await;
    }

    async fn create_pod(&self, metadata: Value) {
        let containers = json!([{ "name": "c", "image": "none" }]);
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": { "nodeName": "n", "containers": containers } });
        self.done("POST", PODS, Some(pod)).await;
    }

    pub(crate) async fn phase(&self, name: &str, phase: &str) {
        let status = json!({ "status": { "phase": phase, "podIP": "127.0.0.1" } });
        self.done("PATCH", &format!("{PODS}/{name}/status"), Some(status))
            .await;
    }

    pub(crate) async fn delete(&self, name: &str) {
        let at_once = json!({ "gracePeriodSeconds": 0 });
        self.done("DELETE", &format!("{PODS}/{name}"), Some(at_once))
            .await;
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.done("GET", path, None).await
    }

    /// The token of the service account `default`, which may do nothing yet.
    pub(crate) async fn service_account(&self) -> String {
        let accounts = "/api/v1/namespaces/default/serviceaccounts";
        // There is no controller that would make it.
        let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default" } });
        self.done("POST", accounts, Some(account)).await;
        let wanted = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": { "expirationSeconds": 3600 } });
        let token = self
            .done("POST", &format!("{accounts}/default/token"), Some(wanted))
            .await;
        token["status"]["token"].as_str().unwrap().to_owned()
    }

    /// Gives that account the role of the docs.
    pub(crate) async fn role(&self) {
        let base = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
        for (document, kind) in ROLE.split("---\n").zip(["roles", "rolebindings"]) {
            self.apply(&format!("{base}/{kind}/micro-registry"), document)
                .await;
        }
    }

    /// As `kubectl apply --server-side -f`: the server reads the YAML.
    async fn apply(&self, path: &str, yaml: &str) {
        let path = format!("{path}?fieldManager=test&force=true");
        let output = curl(
            self.port,
            &self.ca,
            "PATCH",
            &path,
            Some(("application/apply-patch+yaml", yaml)),
        )
        .await;
        assert!(matches!(output.0, 200 | 201), "{output:?}");
    }

    async fn done(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let started = Instant::now();
        loop {
            let (status, answer) = request(self.port, &self.ca, method, path, body.as_ref()).await;
            if matches!(status, 200..=202) {
                return serde_json::from_str(&answer).unwrap();
            }
            // What another watch of the server has yet to hear of.
            assert!(
                started.elapsed() < Duration::from_secs(10),
                "{method} {path}: {status} {answer}"
            );
            sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn request(
    port: u16,
    ca: &str,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> (u16, String) {
    let kind = match method {
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    let text = body.map(Value::to_string);
    curl(
        port,
        ca,
        method,
        path,
        text.as_deref().map(|text| (kind, text)),
    )
    .await
}

/// A client of its own, so that ours is not measured by itself. Status 0: nobody answers.
async fn curl(
    port: u16,
    ca: &str,
    method: &str,
    path: &str,
    body: Option<(&str, &str)>,
) -> (u16, String) {
    let mut command = Command::new("curl");
    command
        .args([
            "--silent",
            "--max-time",
            "10",
            "--cacert",
            ca,
            "--request",
            method,
        ])
        .args(["--header", &format!("authorization: Bearer {ADMIN}")])
        .args(["--write-out", "\n%{http_code}"]);
    if let Some((kind, _)) = body {
        command.args([
            "--header",
            &format!("content-type: {kind}"),
            "--data-binary",
            "@-",
        ]);
    }
    let mut child = command
        .arg(format!("https://127.0.0.1:{port}{path}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl is installed");
    let mut input = child.stdin.take().unwrap();
    if let Some((_, text)) = body {
        input.write_all(text.as_bytes()).await.unwrap();
    }
    drop(input);
    let output = child.wait_with_output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (answer, status) = text.rsplit_once('\n').unwrap_or(("", "0"));
    (status.trim().parse().unwrap_or(0), answer.to_owned())
}
