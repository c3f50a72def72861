//! The durable mode of a receiver: verify, accept, answer.

use bytes::Bytes;

use super::Inbox;
use super::step;
use super::store::{Accepted, InboxError, InboxStore, Incoming};
use crate::dedupe::Fingerprint;
use crate::event::WebhookEvent;
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
        let retention = inbox.store().retention();
        self.kept_in(inbox, retention)
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
                tracing::error!(%error, "the inbox cannot keep the delivery; the sender is asked to come back");
                Disposition::StoreUnavailable
            }
        }
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
        let accepted = tokio::time::timeout(self.answer_within, accepting).await;
        // It may be kept after all; the sender's retry is then a duplicate.
        accepted.unwrap_or(Err(InboxError::TooSlow(self.answer_within)))
    }
}

/// Two sources, or two tenants of one, do not share an entity: a space stands in none of their names.
fn qualified(delivery: &Delivery, entity: &str) -> String {
    let tenant = delivery.tenant().map_or("", |tenant| tenant.as_str());
    format!("{} {tenant} {entity}", delivery.source())
}
