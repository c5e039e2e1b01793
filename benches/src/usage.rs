//! The processor time of a process, from `/proc`.

use std::time::Duration;

use crate::Result;

/// Linux reports in hundredths of a second, whatever its own clock runs at (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// User and system time that a process has used so far, all threads.
pub(crate) fn cpu_of(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| format!("{path} cannot be read (this needs Linux): {error}"))?;
    parse(&text).ok_or_else(|| format!("expected utime and stime in {path}, found {text:?}").into())
}

fn parse(stat: &str) -> Option<Duration> {
    // The second field is the program's name in brackets, which may hold spaces and brackets itself. After it,
    // utime and stime are the 12th and 13th (proc(5) counts them as 14 and 15).
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * (user + system))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_is_read() {
        let line = "7 (a) b) R 1 7 7 0 -1 4194560 111 0 0 0 25 17 0 0 20 0 2 0 99 1 1";
        assert_eq!(parse(line), Some(Duration::from_millis(420)));
        assert_eq!(parse("7 (a"), None);
        assert_eq!(parse("7 (a) R 1 2"), None);
    }
}
