//! nghttp2's load generator: a client that is nobody's of those compared.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::child::{Core, Under, command, output_of};
use crate::greeting::NAME;
use crate::proto::{PATH, tonic::Request};
use crate::serve::frame;
use crate::{Result, child};

/// What it saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) elapsed: Duration,
    /// Answers of HTTP status 200. What gRPC's status was it does not know.
    pub(crate) succeeded: u64,
}

/// Whether it is installed; the error says how it can be.
pub(crate) fn check() -> Result<()> {
    if child::is_there("h2load") {
        return Ok(());
    }
    Err("expected h2load, found no such program: install Debian's package nghttp2-client, or give --load tonic".into())
}

/// Makes `calls` calls, `in_flight` at a time, on one connection.
pub(crate) fn run(address: SocketAddr, calls: u64, in_flight: usize, core: Core) -> Result<Seen> {
    let body = Body::write()?;
    let mut command = command("h2load".as_ref(), core, Under::Nothing);
    command
        .args(["-n", &calls.to_string()])
        .args(["-c", "1"])
        .args(["-m", &in_flight.to_string()])
        .arg("-d")
        .arg(&body.0)
        .args(["-H", "content-type: application/grpc"])
        .args(["-H", "te: trailers"])
        .arg(format!("http://{address}{PATH}"));
    let text = output_of(command)?;
    parse(&text).ok_or_else(|| format!("h2load said what cannot be read: {text}").into())
}

/// The file that holds the request; gone when dropped.
struct Body(PathBuf);

impl Body {
    fn write() -> Result<Body> {
        let name = format!("micro-bench-{}.body", std::process::id());
        let path = std::env::temp_dir().join(name);
        let request = Request {
            name: NAME.to_owned(),
        };
        fs::write(&path, frame(&request)?)?;
        Ok(Body(path))
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        // A file of twelve bytes among the temporary ones hurts nobody.
        let _ = fs::remove_file(&self.0);
    }
}

fn parse(text: &str) -> Option<Seen> {
    let elapsed = text
        .lines()
        .find_map(|line| line.strip_prefix("finished in "))?
        .split(',')
        .next()?;
    let codes = text
        .lines()
        .find_map(|line| line.strip_prefix("status codes: "))?;
    Some(Seen {
        elapsed: duration(elapsed)?,
        succeeded: codes.split(" 2xx").next()?.parse().ok()?,
    })
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0)]
        .into_iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))?;
    let number: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(number * unit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_prints_is_read() {
        let text = "starting benchmark...\n\nfinished in 1.25s, 80000.00 req/s, 3.0MB/s\n\
                    requests: 100000 total, 100000 started, 100000 done, 99999 succeeded, 1 failed\n\
                    status codes: 99999 2xx, 0 3xx, 0 4xx, 1 5xx\n";
        let seen = parse(text).unwrap();
        assert_eq!(seen.elapsed, Duration::from_millis(1250));
        assert_eq!(seen.succeeded, 99_999);
        assert_eq!(parse("finished in 1s, 3 req/s\n"), None);
    }

    #[test]
    fn durations_have_three_units() {
        assert_eq!(duration("12.5ms"), Some(Duration::from_micros(12_500)));
        assert_eq!(duration("250us"), Some(Duration::from_micros(250)));
        assert_eq!(duration("2s"), Some(Duration::from_secs(2)));
        assert_eq!(duration("2h"), None);
        assert_eq!(duration("-2s"), None);
    }
}
