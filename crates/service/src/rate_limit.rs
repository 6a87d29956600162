//! How often somebody may ask: token buckets in memory, of one process.
//!
//! A bucket holds as many tokens as its [`Rate`] allows in one period and fills evenly. What is kept
//! of it is one number, the moment at which it will be full again, so a bucket that is full needs no
//! memory at all. Buckets are found by a keyed hash, so nobody can choose keys that share one. When
//! there are too many, those that are nearest to full are forgotten first: that errs on the side of
//! letting somebody ask once more, never of shutting somebody out.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use parlance_domain::{Error, Result, Visitor};

use crate::App;

/// What is counted. Buckets of different kinds have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Requests with one API key.
    ApiKey,
    /// Requests of one organisation, with all of its keys.
    Organisation,
    /// Requests of one visitor of a chat page.
    Visitor,
    /// Answers for one visitor of a chat page.
    VisitorAnswers,
    /// Answers for all visitors of one chat page.
    WebChatAnswers,
    /// Requests from one address whose credential was not good.
    Refused,
    /// Sessions of chat pages begun from one address.
    AddressSessions,
}

/// So many requests in so much time. All of them may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests in one period; 0 is no limit.
    pub requests: u32,
    /// The time in which an empty bucket fills.
    pub period: Duration,
}

impl Rate {
    /// No limit.
    pub const OFF: Self = Self { requests: 0, period: Duration::ZERO };

    /// Requests in a second; 0 is no limit.
    pub const fn per_second(requests: u32) -> Self {
        Self { requests, period: Duration::from_secs(1) }
    }

    /// Requests in a minute; 0 is no limit.
    pub const fn per_minute(requests: u32) -> Self {
        Self { requests, period: Duration::from_mins(1) }
    }
}

/// Parts that are locked separately, so that callers seldom wait for each other.
const SHARDS: usize = 16;
/// Buckets of one part; 16 bytes each.
const SHARD_BUCKETS: usize = 8192;

/// All buckets of a process.
#[derive(Debug)]
pub struct RateLimits {
    hasher: RandomState,
    start: Instant,
    shards: [Mutex<HashMap<u64, u64>>; SHARDS],
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { hasher: RandomState::new(), start: Instant::now(), shards: Default::default() }
    }
}

impl RateLimits {
    /// Takes one token from the bucket of `key`.
    ///
    /// # Errors
    /// [`Error::RateLimited`] with the whole seconds after which there is a token, at least 1.
    pub fn check(&self, kind: Kind, key: &impl Hash, rate: Rate, now: Instant) -> Result<()> {
        self.take(kind, key, rate, 1, now)
    }

    /// Takes `tokens` from the bucket of `key`, or none. More than the bucket ever holds are taken
    /// as soon as it is full.
    ///
    /// # Errors
    /// [`Error::RateLimited`] with the whole seconds after which there are enough, at least 1.
    pub fn take(&self, kind: Kind, key: &impl Hash, rate: Rate, tokens: u32, now: Instant) -> Result<()> {
        if rate.requests == 0 {
            return Ok(());
        }
        let now = nanos(now.saturating_duration_since(self.start));
        let period = nanos(rate.period);
        let cost = (period / u64::from(rate.requests)).saturating_mul(u64::from(tokens.min(rate.requests)));
        let hash = self.hasher.hash_one((kind, key));
        let shard = usize::try_from(hash % SHARDS as u64).unwrap_or_default();
        let mut full_at = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        // The moment at which the bucket will be full, once these tokens are gone.
        let after = full_at.get(&hash).copied().unwrap_or_default().max(now).saturating_add(cost);
        let empty_until = after.saturating_sub(period);
        if empty_until > now {
            let seconds = Duration::from_nanos(empty_until - now).as_millis().div_ceil(1000);
            return Err(Error::RateLimited { retry_after_seconds: u64::try_from(seconds).unwrap_or(u64::MAX).max(1) });
        }
        if full_at.len() >= SHARD_BUCKETS && !full_at.contains_key(&hash) {
            make_room(&mut full_at, now);
        }
        full_at.insert(hash, after);
        Ok(())
    }

    /// Buckets that are remembered.
    #[cfg(test)]
    fn buckets(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }
}

/// Whether a visitor may have one more answer now, and their web chat give one.
///
/// # Errors
/// [`Error::RateLimited`] when there were too many.
pub(crate) fn admit_answer(app: &App, visitor: Visitor) -> Result<()> {
    let (now, settings) = (Instant::now(), &app.settings);
    app.rate_limits.check(Kind::VisitorAnswers, &visitor.contact, settings.visitor_answer_rate, now)?;
    app.rate_limits.check(Kind::WebChatAnswers, &visitor.web_chat, settings.web_chat_answer_rate, now)
}

/// Forgets the buckets that are full again; if there are few of them, a quarter of all, those that are nearest to full.
fn make_room(full_at: &mut HashMap<u64, u64>, now: u64) {
    full_at.retain(|_, full| *full > now);
    let keep = SHARD_BUCKETS / 4 * 3;
    if full_at.len() > keep {
        let mut moments: Vec<u64> = full_at.values().copied().collect();
        let surplus = moments.len() - keep;
        let (_, last_forgotten, _) = moments.select_nth_unstable(surplus);
        let limit = *last_forgotten;
        full_at.retain(|_, full| *full > limit);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::per_minute(60);

    fn wait(result: Result<()>) -> u64 {
        match result {
            Ok(()) => 0,
            Err(Error::RateLimited { retry_after_seconds }) => retry_after_seconds,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_bucket_is_emptied_at_once_and_fills_evenly() {
        let limits = RateLimits::default();
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let ask = |millis: u64| wait(limits.check(Kind::ApiKey, &"key", RATE, at(millis)));
        assert_eq!((0..60).map(|_| ask(0)).sum::<u64>(), 0);
        assert_eq!(ask(0), 1);
        assert_eq!(ask(999), 1);
        assert_eq!(ask(1000), 0);
        assert_eq!(ask(1000), 1);
        // A refused request takes nothing.
        assert_eq!(ask(2000), 0);
        assert_eq!((0..100).map(|_| u64::from(ask(600_000) == 0)).sum::<u64>(), 60);
        assert_eq!(ask(500_000), 101, "a moment that is past gives nothing away");
    }

    #[test]
    fn tokens_are_taken_together_or_not_at_all() {
        let limits = RateLimits::default();
        let start = Instant::now();
        let take = |tokens| wait(limits.take(Kind::Visitor, &7, RATE, tokens, start));
        assert_eq!(take(50), 0);
        assert_eq!(take(20), 10);
        assert_eq!(take(10), 0);
        assert_eq!(take(u32::MAX), 60, "as soon as the bucket is full");
    }

    #[test]
    fn kinds_and_keys_do_not_share_and_zero_is_no_limit() {
        let limits = RateLimits::default();
        let (now, one) = (Instant::now(), Rate::per_second(1));
        for (kind, key) in [(Kind::ApiKey, "a"), (Kind::ApiKey, "b"), (Kind::Refused, "a")] {
            assert_eq!(wait(limits.check(kind, &key, one, now)), 0);
            assert_eq!(wait(limits.check(kind, &key, one, now)), 1);
        }
        assert!((0..1000).all(|_| limits.check(Kind::ApiKey, &"a", Rate::OFF, now).is_ok()));
    }

    #[test]
    fn memory_is_bounded_and_who_was_refused_stays_refused() {
        let limits = RateLimits::default();
        let now = Instant::now();
        let heavy = "heavy";
        for _ in 0..60 {
            limits.check(Kind::Refused, &heavy, RATE, now).unwrap();
        }
        for address in 0..400_000_u32 {
            limits.check(Kind::Refused, &address, RATE, now).unwrap();
        }
        assert!(limits.buckets() <= SHARDS * SHARD_BUCKETS, "{}", limits.buckets());
        assert_eq!(wait(limits.check(Kind::Refused, &heavy, RATE, now)), 1);
        // What is full again makes room.
        let later = now + Duration::from_mins(2);
        for address in 0..400_000_u32 {
            limits.check(Kind::Refused, &address, RATE, later).unwrap();
        }
        assert_eq!(wait(limits.check(Kind::Refused, &heavy, RATE, later)), 0);
    }
}
