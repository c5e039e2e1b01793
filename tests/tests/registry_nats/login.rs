//! Users with credentials of an operator's account, and users with keys that the server knows.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use micro_runtime::registry::{Nats, Registry};
use micro_tests::expect::{ids, service};

use micro_tests::nats::{Hub, NEW, OLD};

const TTL: Duration = Duration::from_secs(90);

/// How long a call may take that is to fail.
const SHORT: Duration = Duration::from_secs(2);

/// A folder with what `nats-creds` of `.ci/servers/nats.sh` makes, gone with this.
struct Users(PathBuf);

impl Users {
    fn new(name: &str) -> Users {
        let folder = std::env::temp_dir().join(format!("micro-nats-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let servers = std::env::var_os("MICRO_SERVERS").expect("MICRO_SERVERS, as of .ci/run");
        let made = Command::new(PathBuf::from(servers).join("nats-creds"))
            .arg(&folder)
            .status();
        assert!(made.unwrap().success(), "nats-creds failed");
        Users(folder)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    /// A server with these further lines in its configuration.
    async fn server(&self, program: &str, lines: &str) -> Hub {
        let config = self.file("server.conf");
        std::fs::write(&config, lines).unwrap();
        Hub::with(program, &["-c", &config]).await
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The error of a call, which shows no secret.
async fn refused(address: &str) -> String {
    let registry = Nats::new([address]).timeout(SHORT);
    let error = registry.get("a").await.unwrap_err().to_string();
    println!("{error}");
    assert!(!error.contains("SUA") && !error.contains("eyJ"), "{error}");
    assert!(!format!("{registry:?}").contains("eyJ"), "{registry:?}");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_of_an_account() {
    for program in [NEW, OLD] {
        let users = Users::new("creds");
        let lines = std::fs::read_to_string(users.file("operator.conf")).unwrap();
        let hub = users.server(program, &lines).await;
        let address = hub.address();
        let user = users.file("user.creds");
        let ours = Nats::new([format!("nats://{address}?creds={user}")]);
        ours.register(&service("a", "a-1", 1), TTL).await.unwrap();
        let theirs = Nats::new([&address]).credentials_file(&user);
        assert_eq!(ids(&theirs, "a").await.unwrap(), ["a-1"]);

        let stranger = users.file("stranger.creds");
        for (bad, why) in [
            (
                format!("nats://{address}?creds={stranger}"),
                "the server does not take the credentials in",
            ),
            (format!("nats://{address}"), "the server asks who we are"),
            (
                format!("nats://me:password@{address}"),
                "it does not know the user",
            ),
            (
                format!("nats://{address}?creds={}", users.file("user.nk")),
                "expected a user's JWT and seed",
            ),
            (
                format!("nats://{address}?creds={}", users.file("none")),
                "cannot read",
            ),
        ] {
            let error = refused(&bad).await;
            assert!(
                error.contains(why),
                "{program}: expected {why:?} in {error}"
            );
        }
    }
}

/// A file that is wrong at first is read again: whoever mends it needs no restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_credentials_are_taken() {
    let users = Users::new("rotated");
    let lines = std::fs::read_to_string(users.file("operator.conf")).unwrap();
    let hub = users.server(NEW, &lines).await;
    let file = users.file("ours.creds");
    std::fs::copy(users.file("stranger.creds"), &file).unwrap();
    let registry = Nats::new([hub.address()])
        .credentials_file(&file)
        .timeout(SHORT);
    assert!(registry.get("a").await.is_err());
    std::fs::copy(users.file("user.creds"), &file).unwrap();
    registry
        .register(&service("a", "a-1", 1), TTL)
        .await
        .unwrap();
    assert_eq!(ids(&registry, "a").await.unwrap(), ["a-1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_the_server_knows() {
    for program in [NEW, OLD] {
        let users = Users::new("nkey");
        let key = std::fs::read_to_string(users.file("user.pub")).unwrap();
        let lines = format!("authorization: {{ users: [ {{ nkey: {key} }} ] }}\n");
        let hub = users.server(program, &lines).await;
        let address = hub.address();
        let user = users.file("user.nk");
        let ours = Nats::new([format!("nats://{address}?nkey={user}")]);
        ours.register(&service("a", "a-1", 1), TTL).await.unwrap();
        let theirs = Nats::new([&address]).nkey_file(&user);
        assert_eq!(ids(&theirs, "a").await.unwrap(), ["a-1"]);

        // One letter is another: its checksum is wrong.
        let seed = std::fs::read_to_string(&user).unwrap();
        let other = if seed.as_bytes()[20] == b'A' {
            "B"
        } else {
            "A"
        };
        let damaged = users.file("damaged.nk");
        std::fs::write(&damaged, format!("{}{other}{}", &seed[..20], &seed[21..])).unwrap();
        for (bad, why) in [
            (
                users.file("stranger.nk"),
                "the server does not know the nkey in",
            ),
            (damaged, "is damaged"),
            (users.file("user.pub"), "expected the seed of a user"),
        ] {
            let error = refused(&format!("nats://{address}?nkey={bad}")).await;
            assert!(
                error.contains(why),
                "{program}: expected {why:?} in {error}"
            );
        }
        let error = refused(&format!("nats://{address}")).await;
        assert!(error.contains("the server asks who we are"), "{error}");
    }
}
