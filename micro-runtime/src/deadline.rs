//! [`Deadline`]: the instant at which a call is over.

use std::time::Duration;

use tokio::time::Instant;

/// An instant, never a duration: a duration that is handed on starts again at every hop.
///
/// ```
/// use micro_runtime::Deadline;
/// use std::time::Duration;
///
/// let soon = Deadline::after(Duration::from_secs(1));
/// let late = Deadline::after(Duration::from_secs(9));
/// assert_eq!(late.earlier(Some(soon)), soon);
/// assert!(soon.left() <= Duration::from_secs(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

/// The longest time that a deadline may lie ahead: some thirty years, as tokio's timers do. A larger one is
/// cut to it, so that arithmetic on a peer's numbers cannot overflow.
const FARTHEST: Duration = Duration::from_secs(86_400 * 365 * 30);

// ===== impl Deadline =====

impl Deadline {
    /// The deadline this far from now.
    #[must_use]
    pub fn after(time: Duration) -> Deadline {
        Deadline::after_from(Instant::now(), time)
    }

    pub(crate) fn after_from(now: Instant, time: Duration) -> Deadline {
        Deadline(now + time.min(FARTHEST))
    }

    /// The deadline at an instant of tokio's clock.
    #[must_use]
    pub fn at(instant: Instant) -> Deadline {
        Deadline(instant)
    }

    /// The instant.
    #[must_use]
    pub fn instant(self) -> Instant {
        self.0
    }

    /// The time left, zero when it has passed.
    #[must_use]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    #[must_use]
    pub fn has_passed(self) -> bool {
        self.left().is_zero()
    }

    /// The earlier of this one and another, if there is another.
    #[must_use]
    pub fn earlier(self, other: Option<Deadline>) -> Deadline {
        other.map_or(self, |other| self.min(other))
    }
}

/// The earlier of two deadlines, where none means never.
pub(crate) fn earliest(a: Option<Deadline>, b: Option<Deadline>) -> Option<Deadline> {
    match a {
        Some(a) => Some(a.earlier(b)),
        None => b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn counts_down_and_stops_at_zero() {
        let deadline = Deadline::after(Duration::from_secs(2));
        assert_eq!(deadline.left(), Duration::from_secs(2));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(deadline.has_passed());
        assert_eq!(deadline.left(), Duration::ZERO);
    }

    #[test]
    fn a_huge_time_is_cut() {
        assert!(Deadline::after(Duration::MAX).left() <= FARTHEST);
    }

    #[test]
    fn none_is_never() {
        let deadline = Deadline::after(Duration::from_secs(1));
        assert_eq!(earliest(None, None), None);
        assert_eq!(earliest(None, Some(deadline)), Some(deadline));
        assert_eq!(earliest(Some(deadline), None), Some(deadline));
    }
}
