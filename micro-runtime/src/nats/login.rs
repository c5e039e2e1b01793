//! Who we are, to the server: what each connection presents, and what a refusal means.

use std::io::Read;
use std::path::Path;

use async_nats::{ConnectError, ConnectErrorKind, ConnectOptions};

use super::{Login, shown};

/// The most bytes of a file with credentials; real ones have some 1,000, a JWT with many permissions some 10,000.
const FILE_MAX: u64 = 64 * 1024;

/// The length of a seed: 36 bytes in base 32.
const SEED: usize = 58;

/// The options with what this login presents. Files are read here, so that a connection has what they hold now.
///
/// # Errors
///
/// A file cannot be read, or does not hold what it should. The error names the file and shows nothing of it.
pub(crate) async fn present(
    options: ConnectOptions,
    login: &Login,
) -> Result<ConnectOptions, String> {
    match login {
        Login::None => Ok(options),
        Login::User(user, password) => {
            Ok(options.user_and_password(user.clone(), password.clone()))
        }
        Login::Token(token) => Ok(options.token(token.clone())),
        Login::Credentials(file) => {
            let text = read(file).await?;
            options.credentials(&text).map_err(|_| {
                format!(
                    "expected a user's JWT and seed, as nsc writes them, in {}, found something else",
                    file.display()
                )
            })
        }
        Login::Nkey(file) => {
            let text = read(file).await?;
            let seed = seed(&text).ok_or_else(|| {
                format!(
                    "expected the seed of a user, {SEED} characters that begin with SU, in {}, found something \
                     else",
                    file.display()
                )
            })?;
            Ok(options.nkey(seed.to_owned()))
        }
    }
}

/// Why there is no connection, with what to do where it is a matter of who we are.
pub(crate) fn refused(login: &Login, error: ConnectError) -> String {
    let kind = error.kind();
    let text = shown(error);
    let hint = match (kind, login) {
        (ConnectErrorKind::AuthorizationViolation, Login::None) => {
            "the server asks who we are: give the address a user and a password, a token, or creds=FILE"
        }
        (ConnectErrorKind::AuthorizationViolation, Login::User(..)) => {
            "it does not know the user, or the password is another"
        }
        (ConnectErrorKind::AuthorizationViolation, Login::Token(_)) => "the token is another",
        (ConnectErrorKind::AuthorizationViolation, Login::Credentials(file)) => {
            return format!(
                "{text}; the server does not take the credentials in {}",
                file.display()
            );
        }
        (ConnectErrorKind::AuthorizationViolation, Login::Nkey(file)) => {
            return format!(
                "{text}; the server does not know the nkey in {}",
                file.display()
            );
        }
        (ConnectErrorKind::Authentication, Login::Nkey(file)) => {
            return format!("{text}; the seed in {} is damaged", file.display());
        }
        // rustls' name for bytes that are no TLS record.
        _ if text.contains("InvalidContentType") => {
            "the server speaks plain text there: write nats:// instead of tls://"
        }
        _ => return text,
    };
    format!("{text}; {hint}")
}

/// The text of a file, which is a small one.
async fn read(file: &Path) -> Result<String, String> {
    let path = file.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        let file = std::fs::File::open(path)?;
        file.take(FILE_MAX + 1).read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text)
    });
    let cannot = |why: String| format!("cannot read {}: {why}", file.display());
    let text = match read.await {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => return Err(cannot(error.to_string())),
        Err(error) => return Err(cannot(error.to_string())),
    };
    if text.len() as u64 > FILE_MAX {
        return Err(cannot(format!(
            "it has more than {FILE_MAX} bytes, the most of a file with credentials"
        )));
    }
    Ok(text)
}

/// The seed of a user in a file's text: alone, or in a line of its own among comments, as `nsc` and `nk` write it.
fn seed(text: &str) -> Option<&str> {
    let is_seed = |line: &&str| {
        line.len() == SEED
            && line.starts_with("SU")
            && line.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'))
    };
    text.lines().map(str::trim).find(is_seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the documentation of NATS; it opens nothing.
    const SEED_TEXT: &str = "SUANQDPB2RUOE4ETUA26CNX7FUKE5ZZKFCQIIW63OX225F2CO7UEXTM7ZY";

    #[test]
    fn a_seed_is_found_among_comments() {
        assert_eq!(seed(SEED_TEXT), Some(SEED_TEXT));
        let decorated = format!("-----BEGIN USER NKEY SEED-----\r\n{SEED_TEXT}\r\n------END---\n");
        assert_eq!(seed(&decorated), Some(SEED_TEXT));
        for wrong in ["", "SU", &SEED_TEXT[1..], &SEED_TEXT.replace("SU", "SA")] {
            assert_eq!(seed(wrong), None, "{wrong}");
        }
        assert_eq!(seed(&SEED_TEXT.replace('7', "8")), None);
    }

    #[tokio::test]
    async fn files_that_are_no_credentials_are_errors_without_their_text() {
        let folder = std::env::temp_dir().join(format!("micro-nats-login-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, text: &[u8]| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let half = format!(
            "---x---\neyJ0.s3cr3t\n---x---\n\n---x---\n{}\n---x---\n",
            &SEED_TEXT[..9]
        );
        let cases = [
            (Login::Credentials(folder.join("none")), "cannot read"),
            (Login::Nkey(folder.clone()), "cannot read"),
            (
                Login::Credentials(file("empty", b"")),
                "expected a user's JWT and seed",
            ),
            (
                Login::Credentials(file("half", half.as_bytes())),
                "expected a user's JWT and seed",
            ),
            (
                Login::Nkey(file("s3cr3t", b"s3cr3t")),
                "expected the seed of a user",
            ),
            (Login::Nkey(file("bytes", b"\xff\xfe")), "cannot read"),
            (
                Login::Credentials(file("big", &[b'x'; 70_000])),
                "more than 65536 bytes",
            ),
        ];
        for (login, expected) in cases {
            let error = present(ConnectOptions::new(), &login).await.unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(!error.replace("/s3cr3t", "").contains("s3cr3t"), "{error}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
