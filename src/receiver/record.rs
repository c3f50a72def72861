//! What is told about a request: one span, and one event at its end.
//!
//! Fields are names, numbers and words of our own; no secret, signature or body is among them.

use std::time::Instant;

use tracing::field::{Empty, display};
use tracing::{Instrument, Level, Span};

use crate::ids::{EventType, Source};
use crate::meter::{self, Stopwatch};
use crate::receiver::Disposition;
use crate::verify::Delivery;

/// The record of one request.
#[doc(hidden)]
#[allow(missing_debug_implementations, reason = "nobody outside can name it")]
pub struct Record {
    span: Span,
    started: Option<Instant>,
    watch: Stopwatch,
}

impl Record {
    /// Opens the span. Its fields are filled in as they become known, and none before the signature is verified.
    pub(crate) fn begin() -> Self {
        let span = tracing::info_span!(
            "webhook",
            source = Empty,
            tenant = Empty,
            delivery_id = Empty,
            event_type = Empty,
            key_id = Empty,
            outcome = Empty,
            reason = Empty,
            status = Empty,
        );
        // Asking for the time costs more than all the rest of this when nobody listens.
        let started = (!span.is_disabled()).then(Instant::now);
        Self { span, started, watch: Stopwatch::start() }
    }

    pub(crate) fn in_span<F: Future>(&self, work: F) -> tracing::instrument::Instrumented<F> {
        work.instrument(self.span.clone())
    }

    pub(crate) fn verified(&self, delivery: &Delivery) {
        let skew =
            delivery.timestamp().map(|signed| delivery.received_at().as_millis().saturating_sub(signed.as_millis()));
        meter::verified(delivery.source().as_str(), delivery.key_id().as_str(), skew, delivery.raw().len());
        if self.span.is_disabled() {
            return;
        }
        self.span.record("source", display(delivery.source()));
        self.span.record("key_id", display(delivery.key_id()));
        delivery.tenant().map(|tenant| self.span.record("tenant", display(tenant)));
        delivery.id().map(|id| self.span.record("delivery_id", display(id)));
    }

    pub(crate) fn event_type(&self, event_type: &EventType) {
        if !self.span.is_disabled() {
            self.span.record("event_type", display(event_type));
        }
    }

    /// Closes the record of a delivery that somebody else, such as the user's own route, answered with `status`.
    pub(crate) fn end_as(self, source: &Source, disposition: &Disposition, status: u16) {
        meter::answered(source.as_str(), disposition.outcome(), disposition.kind(), status, self.watch);
        let level = level(disposition, status);
        let outcome = disposition.outcome();
        if !self.span.is_disabled() {
            self.span.record("outcome", outcome);
            self.span.record("status", status);
        }
        let _entered = self.span.enter();
        macro_rules! tell {
            ($level:ident) => {
                if tracing::enabled!(Level::$level) {
                    let reason = disposition.reason();
                    let reason = reason.as_deref();
                    let elapsed_us = self.started.map(|started| started.elapsed().as_micros() as u64);
                    self.span.record("reason", reason);
                    tracing::event!(Level::$level, outcome, reason, status, elapsed_us, "webhook answered");
                }
            };
        }
        match level {
            Level::ERROR => tell!(ERROR),
            Level::WARN => tell!(WARN),
            _ => tell!(INFO),
        }
    }
}

/// Ours to mend is an error, somebody else's a warning.
fn level(disposition: &Disposition, status: u16) -> Level {
    match disposition {
        Disposition::Permanent(_) | Disposition::Undecodable(_) => Level::ERROR,
        Disposition::InFlight => Level::INFO,
        _ if (200..300).contains(&status) => Level::INFO,
        _ if status >= 500 => Level::ERROR,
        _ => Level::WARN,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_status_that_is_told_is_the_one_that_was_sent() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        // With one subscriber alone, tracing asks the default of whichever thread comes by first, and remembers its "never".
        let _second = tracing::Dispatch::new(tracing_subscriber::registry());
        tracing::subscriber::with_default(subscriber, || {
            tracing::callsite::rebuild_interest_cache();
            let source = Source::new("acme").unwrap();
            Record::begin().end_as(&source, &Disposition::Released, 418);
        });
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("status=418") && text.contains("WARN") && !text.contains("status=500"), "{text}");
    }
}
