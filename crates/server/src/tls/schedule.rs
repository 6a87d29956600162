//! When a certificate may be asked for. Directories count: what is asked for too often or in vain is
//! refused for hours, for everybody on this server.

use std::time::Duration;

use parlance_domain::Timestamp;

use super::store::{Attempt, Attempts};

const DAY: Duration = Duration::from_hours(24);
/// Certificates that are asked for within [`WINDOW`], failures included. Let's Encrypt takes 300 orders
/// in three hours.
const ORDERS: usize = 15;
const WINDOW: Duration = Duration::from_mins(10);
/// Time between two orders of a name of which nothing has failed: a certificate that is of no use is
/// not asked for again and again.
const PAUSE: Duration = Duration::from_hours(1);
/// Time after the first failure; twice as long after each further one. Let's Encrypt takes five in an
/// hour for a name.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_mins(10);

/// How long after an attempt the next one of the same name begins.
pub(crate) fn pause(failures: u32) -> Duration {
    match failures {
        0 => PAUSE,
        1..=8 => PAUSE_AFTER_FAILURE * 2_u32.pow(failures - 1),
        _ => DAY,
    }
    .min(DAY)
}

/// Of the names that need a certificate, the one to ask for now: the one whose last attempt is the
/// longest ago, or the first that was never tried.
pub(crate) fn next<'a>(due: impl Iterator<Item = &'a str>, attempts: &Attempts, now: Timestamp) -> Option<&'a str> {
    let recent = attempts.values().filter(|attempt| attempt.at.plus(WINDOW) > now).count();
    if recent >= ORDERS {
        return None;
    }
    let last = |name: &str| attempts.get(name).copied();
    let may_begin = |name: &&str| last(name).is_none_or(|attempt| attempt.at.plus(pause(attempt.failures)) <= now);
    due.filter(may_begin).min_by_key(|name| last(name).map(|attempt| attempt.at))
}

/// Notes that an attempt begins. It counts as failed until it has succeeded, so that one which ends
/// with the process is not repeated at once.
pub(crate) fn begin(attempts: &mut Attempts, name: &str, now: Timestamp) {
    let failures = attempts.get(name).map_or(0, |attempt| attempt.failures);
    attempts.insert(name.to_owned(), Attempt { at: now, failures: failures.saturating_add(1) });
}

/// Forgets attempts that decide nothing any more: long past, for names that nobody wants.
pub(crate) fn forget_unwanted(attempts: &mut Attempts, now: Timestamp, is_wanted: impl Fn(&str) -> bool) {
    attempts.retain(|name, attempt| is_wanted(name) || attempt.at.plus(DAY) > now);
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn names_take_turns_and_failures_wait_longer_each_time() {
        let mut attempts = Attempts::new();
        let next = |attempts: &Attempts, now| next(["a.example", "b.example"].into_iter(), attempts, now);
        assert_eq!(next(&attempts, NOW), Some("a.example"));
        begin(&mut attempts, "a.example", NOW);
        assert_eq!(next(&attempts, NOW), Some("b.example"));
        begin(&mut attempts, "b.example", NOW.plus(MINUTE));
        assert_eq!(next(&attempts, NOW.plus(MINUTE * 9)), None);
        assert_eq!(next(&attempts, NOW.plus(MINUTE * 20)), Some("a.example"), "it was tried before the other");
        begin(&mut attempts, "a.example", NOW.plus(MINUTE * 20));
        assert_eq!(next(&attempts, NOW.plus(MINUTE * 31)), Some("b.example"));
        let pauses: Vec<u64> = (0..11).map(|failures| pause(failures).as_secs() / 60).collect();
        assert_eq!(pauses, [60, 10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440]);
    }

    #[test]
    fn orders_of_all_names_together_are_limited() {
        let mut attempts = Attempts::new();
        let names: Vec<String> = (0..100).map(|number| format!("{number}.example")).collect();
        let next = |attempts: &Attempts, now| next(names.iter().map(String::as_str), attempts, now).map(str::to_owned);
        for _ in 0..ORDERS {
            let name = next(&attempts, NOW).unwrap();
            begin(&mut attempts, &name, NOW);
        }
        assert_eq!(next(&attempts, NOW.plus(WINDOW.checked_sub(MINUTE).unwrap())), None);
        assert!(next(&attempts, NOW.plus(WINDOW)).is_some());
        forget_unwanted(&mut attempts, NOW.plus(DAY), |name| name == "3.example");
        assert_eq!(attempts.len(), 1);
    }
}
