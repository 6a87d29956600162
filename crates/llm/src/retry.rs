//! When a failed call is made again. Only this layer retries, and only before the first byte of an
//! answer.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, SystemTime};

use parlance_domain::Timestamp;

use crate::error::{Error, ErrorKind};

/// How often and how long.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Calls in all, the first one included.
    pub attempts: u32,
    /// From the first call until no further one is started.
    pub deadline: Duration,
    /// The pause after the first failure; doubled after each further one.
    pub first_pause: Duration,
    /// The longest pause that is not asked for by the provider.
    pub longest_pause: Duration,
    /// A number in 0..1 by which pauses vary, so that callers do not come back all at once.
    pub jitter: fn() -> f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            deadline: Duration::from_secs(30),
            first_pause: Duration::from_millis(300),
            longest_pause: Duration::from_secs(5),
            jitter: random_fraction,
        }
    }
}

impl RetryPolicy {
    /// The pause before the next call, or `None` to give up: `failures` calls failed so far, the
    /// last one with `failure`, `elapsed` after the first was started.
    pub(crate) fn pause(&self, failures: u32, failure: &Failure, elapsed: Duration) -> Option<Duration> {
        if !failure.is_transient || failures >= self.attempts {
            return None;
        }
        let pause = failure.error.retry_after.unwrap_or_else(|| self.backoff(failures));
        (elapsed + pause <= self.deadline).then_some(pause)
    }

    /// Exponential, with half of it left to chance.
    fn backoff(&self, failures: u32) -> Duration {
        let doubled = self.first_pause.saturating_mul(1 << failures.saturating_sub(1).min(16));
        doubled.min(self.longest_pause).mul_f64(0.5 + (self.jitter)().clamp(0.0, 1.0) / 2.0)
    }
}

/// A fraction from the random keys of the standard hasher: no better randomness is needed.
fn random_fraction() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 32;
    f64::from(u32::try_from(bits).unwrap_or(0)) / f64::from(u32::MAX)
}

/// A failed call and whether another one may succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) is_transient: bool,
}

impl Failure {
    /// Transient by its kind. A timeout is not: the provider may still be working on it.
    pub(crate) fn new(error: Error) -> Self {
        let is_transient = matches!(error.kind, ErrorKind::RateLimited | ErrorKind::Unavailable | ErrorKind::Network);
        Self { error, is_transient }
    }

    pub(crate) const fn lasting(error: Error) -> Self {
        Self { error, is_transient: false }
    }

    /// Whether it says something about the endpoint rather than about the request or the key.
    pub(crate) fn is_of_endpoint(&self) -> bool {
        matches!(self.error.kind, ErrorKind::Unavailable | ErrorKind::Network | ErrorKind::Timeout)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error)
    }
}

impl From<parlance_outbound::Error> for Failure {
    fn from(error: parlance_outbound::Error) -> Self {
        let not_sent = error == parlance_outbound::Error::ConnectTimeout;
        let mut failure = Self::new(error.into());
        failure.is_transient |= not_sent;
        failure
    }
}

/// The time that a `Retry-After` field asks to wait: seconds or an HTTP date (RFC 9110, 10.2.3). A
/// date is measured from the answer's own `Date` where it has one, so that the two clocks need not
/// agree.
pub(crate) fn retry_after(value: &str, date: Option<&str>, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let now = date
        .and_then(|date| httpdate::parse_http_date(date).ok())
        .unwrap_or_else(|| SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(now.millis()).unwrap_or(0)));
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use parlance_domain::Timestamp;

    use super::{Failure, RetryPolicy, random_fraction, retry_after};
    use crate::error::{Error, ErrorKind};

    #[test]
    fn pauses_grow_and_end() {
        let policy = RetryPolicy { jitter: || 1.0, ..RetryPolicy::default() };
        let failure = Failure::new(Error::new(ErrorKind::Unavailable, ""));
        assert_eq!(policy.pause(1, &failure, Duration::ZERO), Some(Duration::from_millis(300)));
        assert_eq!(policy.pause(2, &failure, Duration::ZERO), Some(Duration::from_millis(600)));
        assert_eq!(policy.pause(3, &failure, Duration::ZERO), None);
        assert_eq!(policy.pause(1, &failure, Duration::from_secs(30)), None);
    }

    #[test]
    fn the_providers_wish_counts_if_there_is_time_for_it() {
        let policy = RetryPolicy::default();
        let asked = |seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            Failure::new(Error { kind: ErrorKind::RateLimited, detail: String::new(), retry_after })
        };
        assert_eq!(policy.pause(1, &asked(5), Duration::ZERO), Some(Duration::from_secs(5)));
        assert_eq!(policy.pause(1, &asked(600), Duration::ZERO), None);
    }

    #[test]
    fn only_transient_faults_are_tried_again() {
        let policy = RetryPolicy::default();
        for kind in [
            ErrorKind::Credentials,
            ErrorKind::Rejected,
            ErrorKind::TooLong,
            ErrorKind::Timeout,
            ErrorKind::Filtered,
            ErrorKind::Protocol,
            ErrorKind::Blocked,
        ] {
            assert_eq!(policy.pause(1, &Failure::new(Error::new(kind, "")), Duration::ZERO), None, "{kind:?}");
        }
        let connecting = Failure::from(parlance_outbound::Error::ConnectTimeout);
        assert_eq!(connecting.error.kind, ErrorKind::Timeout);
        assert!(policy.pause(1, &connecting, Duration::ZERO).is_some());
    }

    #[test]
    fn both_forms_of_retry_after() {
        let now = Timestamp::from_millis(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT
        assert_eq!(retry_after("5", None, now), Some(Duration::from_secs(5)));
        assert_eq!(retry_after(" 0.5 ", None, now), Some(Duration::from_millis(500)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:07 GMT", None, now), Some(Duration::from_secs(30)));
        let date = Some("Sun, 06 Nov 1994 08:50:00 GMT");
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:07 GMT", date, now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:00 GMT", None, now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", None, now), None);
        assert_eq!(retry_after("-1", None, now), None);
    }

    #[test]
    fn chance_stays_in_its_range() {
        assert!((0..1_000).map(|_| random_fraction()).all(|fraction| (0.0..=1.0).contains(&fraction)));
    }
}
