//! The signals that stop a service.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use crate::error::Error;

/// What asked the service to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopSignal {
    /// SIGTERM; on Windows, the console is closed or the machine shuts down. Whoever sent it replaces the
    /// service and has others to call meanwhile.
    Terminate,
    /// SIGINT or Ctrl-C, Ctrl-Break: a person who waits.
    Interrupt,
    /// SIGQUIT, as go-micro takes it; here the same as an interrupt.
    Quit,
}

/// The signals of the process. From its making until the process ends they do not end the process by
/// themselves any more, even when it is dropped.
pub(crate) struct Signals(platform::Signals);

// ===== impl StopSignal =====

impl StopSignal {
    /// How long to serve on after deregistering: `delay` for those who replace the service, not at all for a
    /// person who waits.
    pub(crate) fn drain_delay(self, delay: Duration) -> Duration {
        match self {
            StopSignal::Terminate => delay,
            StopSignal::Interrupt | StopSignal::Quit => Duration::ZERO,
        }
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StopSignal::Terminate => "SIGTERM",
            StopSignal::Interrupt => "SIGINT",
            StopSignal::Quit => "SIGQUIT",
        })
    }
}

// ===== impl Signals =====

impl Signals {
    /// Begins to listen; what comes from now on is kept until it is asked for. Needs to be inside a tokio
    /// runtime with I/O.
    ///
    /// # Errors
    /// If the system refuses a handler.
    pub(crate) fn listen() -> Result<Signals, Error> {
        platform::Signals::listen().map(Signals).map_err(|error| {
            Error::transport("signals could not be listened to").with_source(error)
        })
    }

    /// The next signal. The second one means: at once. Of several of one kind that came together, one is
    /// seen. Dropping the future loses none.
    pub(crate) fn next(&mut self) -> impl Future<Output = StopSignal> + Send + '_ {
        self.0.next()
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signals")
    }
}

#[cfg(unix)]
mod platform {
    use std::future::poll_fn;
    use std::io;
    use std::task::Poll;

    use tokio::signal::unix::{Signal, SignalKind, signal};

    use super::StopSignal;

    pub(super) struct Signals([(Signal, StopSignal); 3]);

    impl Signals {
        pub(super) fn listen() -> io::Result<Signals> {
            Ok(Signals([
                (signal(SignalKind::terminate())?, StopSignal::Terminate),
                (signal(SignalKind::interrupt())?, StopSignal::Interrupt),
                (signal(SignalKind::quit())?, StopSignal::Quit),
            ]))
        }

        pub(super) async fn next(&mut self) -> StopSignal {
            poll_fn(|cx| {
                for (signal, kind) in &mut self.0 {
                    // `None` would mean that none can come any more: never ready, like one that does not.
                    if let Poll::Ready(Some(())) = signal.poll_recv(cx) {
                        return Poll::Ready(*kind);
                    }
                }
                Poll::Pending
            })
            .await
        }
    }
}

#[cfg(windows)]
mod platform {
    use std::future::poll_fn;
    use std::io;
    use std::task::Poll;

    use tokio::signal::windows::{
        CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
    };

    use super::StopSignal;

    pub(super) struct Signals {
        c: CtrlC,
        cut: CtrlBreak,
        close: CtrlClose,
        shutdown: CtrlShutdown,
    }

    impl Signals {
        pub(super) fn listen() -> io::Result<Signals> {
            Ok(Signals {
                c: ctrl_c()?,
                cut: ctrl_break()?,
                close: ctrl_close()?,
                shutdown: ctrl_shutdown()?,
            })
        }

        pub(super) async fn next(&mut self) -> StopSignal {
            poll_fn(|cx| {
                let ready = |poll: Poll<Option<()>>| matches!(poll, Poll::Ready(Some(())));
                if ready(self.close.poll_recv(cx)) || ready(self.shutdown.poll_recv(cx)) {
                    Poll::Ready(StopSignal::Terminate)
                } else if ready(self.c.poll_recv(cx)) || ready(self.cut.poll_recv(cx)) {
                    Poll::Ready(StopSignal::Interrupt)
                } else {
                    Poll::Pending
                }
            })
            .await
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn send(name: &str) {
        let status = std::process::Command::new("kill")
            .args([&format!("-{name}"), &std::process::id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// One test for all: signals go to the whole process, and with it to every listener.
    #[tokio::test]
    async fn tells_which_came_and_keeps_the_second() {
        let mut signals = Signals::listen().unwrap();
        let mut other = Signals::listen().unwrap();
        for (name, kind) in [
            ("TERM", StopSignal::Terminate),
            ("INT", StopSignal::Interrupt),
            ("QUIT", StopSignal::Quit),
        ] {
            send(name);
            assert_eq!(signals.next().await, kind);
            assert_eq!(kind.to_string(), format!("SIG{name}"));
        }
        // What came while nobody asked is still there, also for another listener.
        let mut kept = vec![other.next().await, other.next().await, other.next().await];
        kept.sort_by_key(StopSignal::to_string);
        assert_eq!(
            kept,
            [
                StopSignal::Interrupt,
                StopSignal::Quit,
                StopSignal::Terminate
            ]
        );
        send("TERM");
        assert_eq!(signals.next().await, StopSignal::Terminate);
    }

    #[test]
    fn only_sigterm_serves_on() {
        let delay = Duration::from_secs(2);
        assert_eq!(StopSignal::Terminate.drain_delay(delay), delay);
        assert_eq!(StopSignal::Interrupt.drain_delay(delay), Duration::ZERO);
        assert_eq!(StopSignal::Quit.drain_delay(delay), Duration::ZERO);
    }
}
