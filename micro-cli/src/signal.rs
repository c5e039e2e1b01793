//! When the process is asked to end.

/// Comes at SIGINT and SIGTERM, on Windows at Ctrl-C.
pub(crate) fn end() -> Result<impl Future<Output = ()>, String> {
    let wrong = |error: std::io::Error| format!("signals cannot be awaited: {error}");
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};

        let mut interrupt = signal(SignalKind::interrupt()).map_err(wrong)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(wrong)?;
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    {
        let mut interrupt = tokio::signal::windows::ctrl_c().map_err(wrong)?;
        Ok(async move {
            interrupt.recv().await;
        })
    }
}
