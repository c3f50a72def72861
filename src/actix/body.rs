//! Reads a body off the wire, within limits.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use tokio::time::Instant;

use crate::receiver::{Disposition, Held, Limits};

/// Reads all of `payload`, showing each piece to `feed` as it arrives.
///
/// A body that came in one piece, as short ones do, is not copied. No timer is set up for a body that is there
/// already.
pub(super) async fn read(
    payload: &mut Payload,
    limits: &Limits,
    held: &mut Held,
    mut feed: impl FnMut(&[u8]),
) -> Result<Bytes, Disposition> {
    let mut pace = None;
    let mut body = Body::Empty;
    loop {
        let next = match poll_now(payload).await {
            Poll::Ready(next) => next,
            Poll::Pending => {
                let pace = pace.get_or_insert_with(|| Pace::start(limits));
                let until = pace.until(body.len());
                tokio::time::timeout_at(until, payload.next()).await.map_err(|_| Disposition::TooSlow)?
            }
        };
        let Some(chunk) = next else {
            return Ok(body.into_bytes());
        };
        let chunk = chunk.map_err(|error| unreadable(&error))?;
        if chunk.len() > limits.body - body.len() {
            return Err(Disposition::TooLarge);
        }
        if !held.grow(chunk.len()) {
            return Err(Disposition::Overloaded);
        }
        feed(&chunk);
        body.push(chunk);
    }
}

/// What stands for longer waits, which an [`Instant`] need not be able to tell.
const LONGEST_WAIT: Duration = Duration::from_hours(24 * 365);

/// When the next piece of a body must be there.
struct Pace {
    started: Instant,
    deadline: Duration,
    grace: Duration,
    min_rate: usize,
}

impl Pace {
    fn start(limits: &Limits) -> Self {
        Self { started: Instant::now(), deadline: limits.deadline, grace: limits.grace, min_rate: limits.min_rate }
    }

    /// With `received` bytes so far: the end, or the moment from which the average is below the minimum rate.
    fn until(&self, received: usize) -> Instant {
        let earned = match self.min_rate {
            0 => self.deadline,
            rate => self.grace.saturating_add(Duration::from_secs_f64(received as f64 / rate as f64)),
        };
        self.started + self.deadline.min(earned).min(LONGEST_WAIT)
    }
}

/// The pieces so far: nothing, one as it came, or several in one buffer.
enum Body {
    Empty,
    One(Bytes),
    Several(BytesMut),
}

impl Body {
    fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(chunk) => chunk.len(),
            Self::Several(buffer) => buffer.len(),
        }
    }

    fn push(&mut self, chunk: Bytes) {
        match self {
            Self::Empty => *self = Self::One(chunk),
            Self::One(first) => {
                // Room for what has arrived, twice over, and never for what was only announced.
                let mut buffer = BytesMut::with_capacity((first.len() + chunk.len()) * 2);
                buffer.extend_from_slice(first);
                buffer.extend_from_slice(&chunk);
                *self = Self::Several(buffer);
            }
            Self::Several(buffer) => buffer.extend_from_slice(&chunk),
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Empty => Bytes::new(),
            Self::One(chunk) => chunk,
            Self::Several(buffer) => buffer.freeze(),
        }
    }
}

type Next = Option<Result<Bytes, PayloadError>>;

async fn poll_now(payload: &mut Payload) -> Poll<Next> {
    std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *payload).poll_next(cx))).await
}

fn unreadable(error: &PayloadError) -> Disposition {
    match error {
        PayloadError::Overflow => Disposition::TooLarge,
        _ => Disposition::Truncated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(deadline: Duration, min_rate: usize, grace: Duration) -> Limits {
        Limits { body: 1024, deadline, min_rate, grace }
    }

    #[test]
    fn limits_that_no_clock_reaches_are_limits_still() {
        for limits in [limits(Duration::MAX, 0, Duration::ZERO), limits(Duration::MAX, 1, Duration::MAX)] {
            let pace = Pace::start(&limits);
            assert_eq!(pace.until(1), pace.started + LONGEST_WAIT);
        }
    }

    #[test]
    fn a_body_earns_time_by_its_bytes_and_never_more_than_the_deadline() {
        let second = Duration::from_secs(1);
        let pace = Pace::start(&limits(10 * second, 100, 2 * second));
        assert_eq!(pace.until(0), pace.started + 2 * second);
        assert_eq!(pace.until(300), pace.started + 5 * second);
        assert_eq!(pace.until(3_000), pace.started + 10 * second);
        let pace = Pace::start(&limits(10 * second, 0, Duration::ZERO));
        assert_eq!(pace.until(0), pace.started + 10 * second);
    }
}
