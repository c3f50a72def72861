//! How many requests a key may make in a minute.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::sandbox::api::ApiError;

const WINDOW: Duration = Duration::from_secs(60);

/// Counts the requests of each tenant in windows of a minute, which begin with the first request.
pub(super) struct RateLimit {
    limit: Option<u32>,
    windows: Mutex<HashMap<i64, (Instant, u32)>>,
}

impl RateLimit {
    pub(super) fn new(limit: Option<u32>) -> Self {
        Self { limit, windows: Mutex::default() }
    }

    /// Counts a request of `tenant` at `now`, and refuses it if it is one too many.
    pub(super) fn admit(&self, tenant: i64, now: Instant) -> Result<(), ApiError> {
        let Some(limit) = self.limit else { return Ok(()) };
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, count) = windows.entry(tenant).or_insert((now, 0));
        let passed = now.saturating_duration_since(*start);
        if passed >= WINDOW {
            (*start, *count) = (now, 0);
        } else if *count >= limit {
            // Rounded up: who waits this long finds the next window open.
            return Err(ApiError::RateLimited((WINDOW - passed).as_millis().div_ceil(1000) as u64));
        }
        *count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_opens_again_after_the_told_time() {
        let rate = RateLimit::new(Some(2));
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert!(rate.admit(1, at(0)).is_ok());
        assert!(rate.admit(1, at(10)).is_ok());
        assert!(matches!(rate.admit(1, at(500)), Err(ApiError::RateLimited(60))));
        assert!(matches!(rate.admit(1, at(59_999)), Err(ApiError::RateLimited(1))));
        assert!(rate.admit(2, at(20)).is_ok());
        assert!(rate.admit(1, at(60_000)).is_ok());
        assert!(RateLimit::new(None).admit(1, start).is_ok());
    }
}
