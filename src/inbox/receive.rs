//! The durable mode of a receiver: verify, accept, answer.

use bytes::Bytes;

use super::Inbox;
use super::step;
use super::store::{Accepted, InboxError, InboxStore, Incoming, named};
use crate::causes::{Causes, in_one_line};
use crate::crypto::RunningDigest;
use crate::dedupe::Fingerprint;
use crate::event::WebhookEvent;
use crate::meter::timed;
use crate::receiver::{Disposition, Mode, NoHandlers, Receiver, ReceiverBuilder, Record, claim_key, guarded, open};
use crate::time::Timestamp;
use crate::verify::{Delivery, Verified};

impl<H, S> ReceiverBuilder<H, S> {
    /// What keeps deliveries, durably, to be worked on after the answer; instead of [`dedupe`](Self::dedupe) and
    /// [`handlers`](Self::handlers), which are let go. A delivery is answered 200 when it is on the disk, a duplicate
    /// likewise, and nothing else is.
    ///
    /// The handlers are given to [`Inbox::workers`]. See [`inbox`](crate::inbox).
    pub fn inbox<E: WebhookEvent, I: InboxStore>(self, inbox: Inbox<E, I>) -> ReceiverBuilder<NoHandlers, Inbox<E, I>> {
        let (retention, mistakes) = (inbox.store().retention(), inbox.mistakes());
        self.kept_in(inbox, retention, mistakes)
    }
}

impl<E: WebhookEvent, S: InboxStore> Mode<NoHandlers> for Inbox<E, S> {
    async fn work(
        receiver: &Receiver<NoHandlers, Self>,
        verified: &mut Verified<Bytes>,
        now: Timestamp,
        record: &Record,
    ) -> Disposition {
        record.verified(verified.delivery());
        step::reached("accept", "verified");
        let inbox = receiver.store();
        let incoming = match guarded(|| inbox.read(verified, record)) {
            Ok(Ok(incoming)) => incoming,
            Ok(Err(disposition)) | Err(disposition) => return disposition,
        };
        match inbox.accept(incoming, now).await {
            Ok(Accepted::New) => Disposition::Accepted,
            Ok(Accepted::Duplicate(_)) => Disposition::Duplicate,
            Ok(Accepted::Conflict) => Disposition::Conflict,
            Err(error) => {
                let error = Causes(&error);
                tracing::error!(%error, "the inbox cannot keep the delivery; the sender is asked to come back");
                Disposition::StoreUnavailable
            }
        }
    }

    async fn could_record(&self) -> Result<(), String> {
        let pinged = timed(named::<S>(), "ping", self.store.ping()).await;
        pinged.map_err(|error| in_one_line(&error))
    }
}

impl<E: WebhookEvent, S: InboxStore> Inbox<E, S> {
    /// Reads the event's type, and that the body is JSON to its end: what is kept can be worked on.
    fn read(&self, verified: &mut Verified<Bytes>, record: &Record) -> Result<Incoming, Disposition> {
        let raw = verified.raw().clone();
        let opened = open::<E>(&raw, verified.delivery())?;
        record.event_type(&opened.event_type);
        opened.close().map_err(Disposition::Malformed)?;
        verified.set_event_type(opened.event_type);
        let delivery = verified.delivery();
        let entity = self.entity.as_ref().and_then(|entity_of| entity_of(delivery));
        Ok(Incoming {
            key: claim_key(delivery),
            fingerprint: Fingerprint::of(delivery.raw()),
            entity: entity.map(|entity| qualified(delivery, &entity)),
            delivery: delivery.to_stored(),
        })
    }

    async fn accept(&self, incoming: Incoming, now: Timestamp) -> Result<Accepted, InboxError> {
        let accepting = self.store.accept(incoming, now);
        let accepting = async {
            let accepted = tokio::time::timeout(self.answer_within, accepting).await;
            // It may be kept after all; the sender's retry is then a duplicate.
            accepted.unwrap_or(Err(InboxError::TooSlow(self.answer_within)))
        };
        timed(named::<S>(), "accept", accepting).await
    }
}

/// Two sources, or two tenants of one, do not share an entity: a space stands in none of their names.
///
/// An entity comes out of a body, so it may be any text, of any length. One that is long or not printable is called by its
/// digest: no store has to keep it, and no index or terminal has to bear it.
fn qualified(delivery: &Delivery, entity: &str) -> String {
    let tenant = delivery.tenant().map_or("", |tenant| tenant.as_str());
    let source = delivery.source();
    if entity.len() <= MAX_ENTITY && !entity.chars().any(char::is_control) {
        return format!("{source} {tenant} {entity}");
    }
    let mut digest = RunningDigest::default();
    digest.update(entity.as_bytes());
    format!("{source} {tenant} sha256:{}", base16ct::lower::encode_string(&digest.finish()))
}

/// The longest entity that is kept as it is, in bytes.
const MAX_ENTITY: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::StoredDelivery;
    use crate::verify::Authenticated;

    fn delivery() -> Verified<Bytes> {
        let stored = StoredDelivery {
            source: crate::Source::new("test").expect("a source"),
            tenant: None,
            id: None,
            event_type: None,
            timestamp: None,
            received_at: Timestamp::from_secs(0),
            key_id: crate::KeyId::new("a").expect("a key id"),
            authenticated: Authenticated::from_bits(1),
            content_digest: None,
            headers: Vec::new(),
            raw: Bytes::new(),
        };
        stored.trusted_again()
    }

    #[test]
    fn an_entity_is_printable_and_bounded_whatever_the_body_says() {
        let verified = delivery();
        let of = |entity: &str| qualified(verified.delivery(), entity);
        assert_eq!(of("ent_7"), "test  ent_7");
        assert_eq!(of("é 7"), "test  é 7");
        for odd in ["a\0b", "a\nb", "\u{1b}[2J", &"x".repeat(257), &"é".repeat(1 << 20)] {
            let named = of(odd);
            assert!(named.starts_with("test  sha256:") && named.len() == 77, "{named}");
            assert_eq!(named, of(odd), "the same every time");
        }
        assert_ne!(of("a\0b"), of("a\0c"));
    }
}
