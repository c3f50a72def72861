//! A verified delivery as an inbox keeps it, and how it becomes a verified delivery again.
//!
//! What was verified once is verified still when it is read back from a place that only we write. Two ways lead back,
//! and both end in the one assertion:
//!
//! - [`StoredDelivery::trusted_again`] takes the store's word for it. Whoever can write the store can then forge an event, so
//!   the file or the database is part of what is trusted, as the handlers' own database is;
//! - [`Verifier::verify_stored`] verifies the signature anew, under the keys that counted when it came in. What was
//!   written into the store by somebody without a key is found out. It needs the key to be in the keyring still.

use std::fmt;

use bytes::Bytes;

use super::verified::Identity;
use super::{Authenticated, Delivery, Rejection, RejectionKind, Verified, Verifier};
use crate::ids::{DeliveryId, EventType, KeyId, Source, TenantId};
use crate::request::RequestHead;
use crate::time::Timestamp;

/// What is kept of a verified delivery, in the plain types that a store can write.
///
/// It proves nothing: anybody can make one. It becomes a delivery again only inside this crate, when a worker reads it
/// from its store.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredDelivery {
    /// Who sent it: the scheme's name.
    pub source: Source,
    /// Whose keys verified it, where keys are chosen by request.
    pub tenant: Option<TenantId>,
    /// The sender's id of the delivery.
    pub id: Option<DeliveryId>,
    /// The event's type.
    pub event_type: Option<EventType>,
    /// When the sender says it signed it.
    pub timestamp: Option<Timestamp>,
    /// When it was verified, by the receiver's clock.
    pub received_at: Timestamp,
    /// The key under which the signature matched.
    pub key_id: KeyId,
    /// What the signature covers.
    pub authenticated: Authenticated,
    /// The SHA-256 of what was signed, where that and no signed id names the delivery.
    pub content_digest: Option<[u8; 32]>,
    /// The headers that the scheme reads, the signature among them, in lower case and as they stood in the request.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, byte for byte.
    pub raw: Bytes,
}

impl Delivery {
    /// What an inbox keeps of this delivery.
    pub(crate) fn to_stored(&self) -> StoredDelivery {
        StoredDelivery {
            source: self.source.clone(),
            tenant: self.tenant.clone(),
            id: self.id.clone(),
            event_type: self.event_type.clone(),
            timestamp: self.timestamp,
            received_at: self.received_at,
            key_id: self.key_id.clone(),
            authenticated: self.authenticated,
            content_digest: match self.identity {
                Identity::Content(digest) => Some(digest),
                Identity::SignedId => None,
            },
            headers: self.headers.clone(),
            raw: self.raw.clone(),
        }
    }
}

impl StoredDelivery {
    /// The delivery as it was verified before it was stored, on the word of the store that it comes from.
    ///
    /// Only `src/inbox/` calls this, with what its own store has kept (`tests/layering.rs`).
    pub(crate) fn trusted_again(self) -> Verified<Bytes> {
        let identity = match (self.content_digest, &self.id) {
            (Some(digest), _) => Identity::Content(digest),
            (None, Some(_)) => Identity::SignedId,
            // No store writes such a row; an identity of its own keeps it from being taken for another.
            (None, None) => Identity::Content([0; 32]),
        };
        let body = self.raw.clone();
        let delivery = Delivery {
            source: self.source,
            tenant: self.tenant,
            id: self.id,
            event_type: self.event_type,
            timestamp: self.timestamp,
            received_at: self.received_at,
            key_id: self.key_id,
            authenticated: self.authenticated,
            identity,
            headers: self.headers,
            raw: self.raw,
        };
        Verified::assertion(body, delivery)
    }
}

impl Verifier {
    /// Verifies a stored delivery anew, as of the moment at which it came in.
    ///
    /// Only `src/inbox/` calls this, with what its own store has kept.
    pub(crate) fn verify_stored(&self, stored: &StoredDelivery) -> Result<Verified<Bytes>, Rejection> {
        let keys = self.keys.of_tenant(stored.tenant.as_ref(), &self.scheme);
        let keys = keys.ok_or(Rejection::from(RejectionKind::NoActiveKey))?;
        if *self.scheme.name() != stored.source {
            return Err(RejectionKind::WrongSignature.into());
        }
        let head = RequestHead::new(&stored.headers);
        let mut verifying = self.begin_with(stored.tenant.clone(), keys, &head, stored.received_at)?;
        verifying.update(&stored.raw);
        verifying.finish(stored.raw.clone())
    }
}

/// Everything but the body and the headers, of which the lengths are shown.
impl fmt::Debug for StoredDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredDelivery")
            .field("source", &self.source)
            .field("tenant", &self.tenant)
            .field("id", &self.id)
            .field("event_type", &self.event_type)
            .field("timestamp", &self.timestamp)
            .field("received_at", &self.received_at)
            .field("key_id", &self.key_id)
            .field("authenticated", &self.authenticated)
            .field("headers", &self.headers.len())
            .field("raw_len", &self.raw.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::keyring::{Key, Keyring, Secret};
    use crate::request::RequestView;
    use crate::scheme::Scheme;
    use crate::verify::{Keys, Message, Signer, Tenants};

    const NOW: Timestamp = Timestamp::from_secs(1_750_000_000);

    fn key(name: &str) -> Key {
        let secret = Secret::new(format!("whsec_{0}{0}{0}{0}", name.repeat(4))).unwrap();
        Key::new(KeyId::new(name).unwrap(), secret)
    }

    fn keyring(name: &str) -> Keyring {
        Keyring::new([key(name)]).unwrap()
    }

    fn stored(scheme: &Scheme, keyring: &Keyring) -> StoredDelivery {
        let signer = Signer::new(scheme.clone(), keyring.clone()).unwrap();
        let headers = signer.sign(&Message::new(b"{}", NOW).id("msg_1").event_type("a")).unwrap();
        let verifier = Verifier::new(scheme.clone(), keyring.clone()).unwrap().keeping_headers();
        let verified = verifier.verify(&RequestView::new(&headers, &b"{}"[..]), NOW).unwrap();
        verified.delivery().to_stored()
    }

    #[test]
    fn what_was_stored_comes_back_as_it_was() {
        for scheme in [Scheme::standard_webhooks(), Scheme::github(), Scheme::stripe(), Scheme::shopify()] {
            let keyring = keyring("a");
            let stored = stored(&scheme, &keyring);
            assert!(!stored.headers.is_empty(), "{scheme:?}");
            let verifier = Verifier::new(scheme, keyring).unwrap().keeping_headers();
            let again = verifier.verify_stored(&stored).unwrap();
            assert_eq!(again.delivery().to_stored(), stored);
            assert_eq!(stored.clone().trusted_again().delivery().to_stored(), stored);
        }
    }

    #[test]
    fn what_nobody_signed_is_trusted_and_not_verified() {
        let (scheme, keyring) = (Scheme::standard_webhooks(), keyring("a"));
        let forged = StoredDelivery { raw: Bytes::from_static(b"{\"forged\":1}"), ..stored(&scheme, &keyring) };
        let verifier = Verifier::new(scheme, keyring).unwrap();
        let refused = verifier.verify_stored(&forged).map(drop);
        assert_eq!(refused, Err(RejectionKind::WrongSignature.into()));
        assert_eq!(forged.clone().trusted_again().raw(), &forged.raw);
    }

    #[test]
    fn the_keys_that_count_are_those_of_the_moment_at_which_it_came() {
        let (scheme, keyring) = (Scheme::standard_webhooks(), keyring("a"));
        let stored = stored(&scheme, &keyring);
        keyring.rotate_at(key("b"), Duration::from_hours(1), NOW).unwrap();
        let verifier = Verifier::new(scheme, keyring.clone()).unwrap();
        assert!(verifier.verify_stored(&stored).is_ok(), "rotated out after it came");
        keyring.replace([key("b")]).unwrap();
        assert_eq!(verifier.verify_stored(&stored).map(drop), Err(RejectionKind::WrongSignature.into()));
    }

    #[test]
    fn a_tenant_is_verified_anew_under_its_own_keys() {
        let scheme = Scheme::standard_webhooks();
        let tenants = Tenants::by_param("tenant");
        tenants.insert("acme", keyring("a")).unwrap();
        let stored = StoredDelivery { tenant: Some(TenantId::new("acme").unwrap()), ..stored(&scheme, &keyring("a")) };
        let verifier = Verifier::new(scheme, Keys::from(tenants.clone())).unwrap();
        assert_eq!(verifier.verify_stored(&stored).unwrap().delivery().tenant(), stored.tenant.as_ref());
        tenants.insert("acme", keyring("b")).unwrap();
        assert!(verifier.verify_stored(&stored).is_err());
        tenants.remove("acme");
        assert_eq!(verifier.verify_stored(&stored).map(drop), Err(RejectionKind::NoActiveKey.into()));
    }

    #[test]
    fn debug_shows_neither_body_nor_headers() {
        let shown = format!("{:?}", stored(&Scheme::standard_webhooks(), &keyring("a")));
        assert!(!shown.contains("v1,") && shown.contains("raw_len: 2"), "{shown}");
    }
}
