//! A circuit breaker: an endpoint that only fails is left alone for a while.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// When an endpoint counts as dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Failures in a row that open the circuit.
    pub failures_to_open: u32,
    /// How long calls fail at once before one may try again.
    pub open_for: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self { failures_to_open: 10, open_for: Duration::from_secs(10) }
    }
}

/// The state for one endpoint, shared by everything that calls it.
#[derive(Debug)]
pub(crate) struct Breaker {
    policy: BreakerPolicy,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
    },
    /// One call is trying; the others still fail at once.
    Trying,
}

impl Breaker {
    pub(crate) fn new(policy: BreakerPolicy) -> Self {
        Self { policy, state: Mutex::new(State::Closed { failures: 0 }) }
    }

    /// Asks to make a call. `Err` holds how long to stay away.
    pub(crate) fn permit(&self) -> Result<Permit<'_>, Duration> {
        let mut state = self.lock();
        match *state {
            State::Closed { .. } => Ok(Permit { breaker: self, is_trial: false, reported: false }),
            State::Open { until } => {
                let now = Instant::now();
                if now < until {
                    return Err(until - now);
                }
                *state = State::Trying;
                Ok(Permit { breaker: self, is_trial: true, reported: false })
            }
            State::Trying => Err(self.policy.open_for),
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        matches!(*self.lock(), State::Closed { failures: 0 })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> State {
        State::Open { until: Instant::now() + self.policy.open_for }
    }
}

/// The right to make one call; its outcome is reported here. A call that is dropped halfway counts
/// as neither.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    breaker: &'a Breaker,
    is_trial: bool,
    reported: bool,
}

impl Permit<'_> {
    /// The endpoint answered, be it with a refusal.
    pub(crate) fn succeeded(mut self) {
        self.reported = true;
        *self.breaker.lock() = State::Closed { failures: 0 };
    }

    /// The endpoint is down or did not answer.
    pub(crate) fn failed(mut self) {
        self.reported = true;
        let mut state = self.breaker.lock();
        if self.is_trial {
            *state = self.breaker.open();
            return;
        }
        if let State::Closed { failures } = &mut *state {
            *failures += 1;
            if *failures >= self.breaker.policy.failures_to_open {
                *state = self.breaker.open();
            }
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.is_trial && !self.reported {
            *self.breaker.lock() = State::Open { until: Instant::now() };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Breaker, BreakerPolicy};

    fn breaker() -> Breaker {
        Breaker::new(BreakerPolicy { failures_to_open: 3, open_for: Duration::from_secs(5) })
    }

    #[tokio::test(start_paused = true)]
    async fn opens_tries_once_and_heals() {
        let breaker = breaker();
        for _ in 0..3 {
            breaker.permit().unwrap().failed();
        }
        assert_eq!(breaker.permit().unwrap_err(), Duration::from_secs(5));
        tokio::time::advance(Duration::from_secs(6)).await;
        let trial = breaker.permit().unwrap();
        assert!(breaker.permit().is_err(), "only one call tries");
        trial.failed();
        assert!(breaker.permit().is_err());
        tokio::time::advance(Duration::from_secs(6)).await;
        drop(breaker.permit().unwrap());
        breaker.permit().unwrap().succeeded();
        assert!(breaker.is_idle());
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_starts_the_count_again() {
        let breaker = breaker();
        for _ in 0..10 {
            breaker.permit().unwrap().failed();
            breaker.permit().unwrap().failed();
            breaker.permit().unwrap().succeeded();
        }
        assert!(breaker.permit().is_ok());
    }
}
