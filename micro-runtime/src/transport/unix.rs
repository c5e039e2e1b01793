//! Unix sockets: listening, and dialling.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// A listener whose socket file goes with it.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file: another one at its path is not ours to remove.
    file: Option<(u64, u64)>,
}

/// Listens on a path. A socket file on which nobody answers any more is removed first.
pub(super) fn bind(path: &Path) -> io::Result<Socket> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    Ok(Socket {
        listener,
        file: identity(path),
        path: path.to_owned(),
    })
}

/// Whether a socket lies there that nobody listens on.
fn is_stale(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    // Connecting to a Unix socket never waits for the other side.
    let answer = std::os::unix::net::UnixStream::connect(path);
    is_socket && matches!(answer, Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let file = std::fs::symlink_metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

/// Connects to a path.
pub(super) async fn dial(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.file.is_some() && identity(&self.path) == self.file {
            // If it is gone already, so much the better.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("micro-{}-{name}.sock", std::process::id()))
    }

    #[tokio::test]
    async fn the_file_goes_with_the_listener() {
        let path = path("goes");
        let socket = bind(&path).unwrap();
        assert!(dial(&path).await.is_ok());
        drop(socket);
        assert!(!path.exists());
        assert!(dial(&path).await.is_err());
    }

    #[tokio::test]
    async fn only_a_stale_file_is_removed() {
        let path = path("stale");
        // A standard listener leaves its file behind.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let socket = bind(&path).unwrap();
        let error = bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(
            dial(&path).await.is_ok(),
            "the first listener still listens"
        );
        // A file that somebody else has put there stays.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "mine").unwrap();
        drop(socket);
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        assert!(
            bind(&path).is_err(),
            "a file that is no socket is not removed"
        );
        std::fs::remove_file(&path).unwrap();
    }
}
