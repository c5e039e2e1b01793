//! The small subscriber that `init` installs, so that a service's lines are seen without any set-up.

use tracing::Level;
use tracing::subscriber::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

use super::settings::LogLevel;

/// Crates below us whose events are about single frames: they would bury everything else, so they are held
/// to warnings unless everything is asked for.
const NOISY: [&str; 6] = ["h2", "hickory", "hyper", "mio", "rustls", "tokio"];

/// Those that tell of each attempt to connect, as a warning or an error. The registries that use them say what
/// matters of it, so these are not heard at all unless everything is asked for.
const REPEATED: [&str; 1] = ["async_nats"];

/// Writes events of `level` and above to stderr, one a line, from now on and for the whole process, unless
/// the program has set a subscriber already: then that one stays. Says whether it did.
pub(crate) fn install(level: LogLevel) -> bool {
    if tracing::dispatcher::has_been_set() {
        return false;
    }
    tracing::subscriber::set_global_default(subscriber(level, std::io::stderr)).is_ok()
}

/// The subscriber, on any writer.
fn subscriber<W>(level: LogLevel, writer: W) -> impl Subscriber + Send + Sync + 'static
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let level = match level {
        LogLevel::Trace => Level::TRACE,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Info => Level::INFO,
        LogLevel::Warn => Level::WARN,
        LogLevel::Error | LogLevel::Fatal => Level::ERROR,
    };
    let mut filter = Targets::new().with_default(level);
    if level != Level::TRACE {
        for target in NOISY {
            filter = filter.with_target(target, level.min(Level::WARN));
        }
        for target in REPEATED {
            filter = filter.with_target(target, LevelFilter::OFF);
        }
    }
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(false)
        // It would tell of a failed write on stderr, and panic if that is what is closed.
        .log_internal_errors(false)
        .with_writer(writer);
    tracing_subscriber::registry().with(filter).with(layer)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::events;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that are written, without the time before each.
    fn written(level: LogLevel, events: impl FnOnce()) -> Vec<String> {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = subscriber(level, move || writer.clone());
        tracing::subscriber::with_default(subscriber, events);
        let bytes = buffer.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines()
            .map(|line| line.split_once(' ').unwrap().1.trim_start().to_owned())
            .collect()
    }

    #[test]
    fn a_service_speaks_go_micros_words() {
        let lines = written(LogLevel::Info, || {
            events::starting("hellooo");
            events::listening("[::]:4040");
            events::registering("mdns", "hellooo-1");
            events::deregistering("mdns", "hellooo-1");
            events::no_effect("MICRO_STORE", "there is no store");
        });
        assert_eq!(
            lines,
            [
                "INFO Starting [service] hellooo",
                "INFO Server [grpc] Listening on [::]:4040",
                "INFO Registry [mdns] Registering node: hellooo-1",
                "INFO Registry [mdns] Deregistering node: hellooo-1",
                "WARN MICRO_STORE is set and has no effect: there is no store",
            ]
        );
    }

    #[test]
    fn a_subscriber_of_the_program_stays() {
        let theirs = tracing_subscriber::registry();
        tracing::subscriber::with_default(theirs, || assert!(!install(LogLevel::Info)));
    }

    #[test]
    fn levels_hold_and_frames_stay_out() {
        let speak = || {
            tracing::error!("e");
            tracing::warn!("w");
            tracing::info!("i");
            tracing::debug!("d");
            tracing::trace!("t");
            tracing::debug!(target: "h2::codec", "frame");
            tracing::warn!(target: "h2", "odd");
            tracing::error!(target: "async_nats::connector", "attempts");
            tracing::debug!(target: "hickory_net::udp", "packet");
        };
        for (level, expected) in [
            (LogLevel::Fatal, "ERROR e"),
            (LogLevel::Error, "ERROR e"),
            (LogLevel::Warn, "ERROR e|WARN w|WARN odd"),
            (LogLevel::Info, "ERROR e|WARN w|INFO i|WARN odd"),
            (LogLevel::Debug, "ERROR e|WARN w|INFO i|DEBUG d|WARN odd"),
            (
                LogLevel::Trace,
                "ERROR e|WARN w|INFO i|DEBUG d|TRACE t|DEBUG frame|WARN odd|ERROR attempts|DEBUG packet",
            ),
        ] {
            assert_eq!(written(level, speak).join("|"), expected, "{level:?}");
        }
    }
}
