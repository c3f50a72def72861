//! Scheme and keys meet here, and nowhere else: a request goes in, a [`Verified`] comes out or a [`Rejection`].
//!
//! What is accepted: a request whose signature header holds, among those of a version that the scheme knows, one whole
//! HMAC-SHA256 of the signed content under one of the keys that are active now, and whose signed time is within the
//! tolerance, on either side. What is refused: everything else, and the sender is not told which of the two it was.
//!
//! Every active key is tried and every listed signature compared in full, whatever the others gave. Where keys are
//! chosen by request, an unknown choice is verified under a key that nobody has, at the same cost.
//!
//! A deployment must hand over the body as it was sent: a proxy or a middleware that decompresses, re-encodes or trims
//! it makes every signature wrong.

mod keys;
mod rejection;
mod sign;
mod stored;
mod verified;

pub use keys::{KeyResolver, Keys, Tenant, Tenants};
pub use rejection::{Rejection, RejectionKind};
pub use sign::{Message, SignError, Signer};
pub use stored::StoredDelivery;
pub(crate) use verified::Identity;
pub use verified::{Authenticated, Delivery, Verified};

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::crypto::{FirstMatch, RunningDigest, RunningMac};
use crate::ids::{DeliveryId, EventType, TenantId};
use crate::keyring::{KeySet, KeyringError};
use crate::request::{RequestHead, RequestView};
use crate::scheme::{HeadReading, IdSource, Scheme, find_by_pointer};
use crate::time::Timestamp;

/// Verifies requests: a scheme and the keys it is used with.
#[derive(Clone, Debug)]
pub struct Verifier {
    scheme: Arc<Scheme>,
    keys: Keys,
    keeps_headers: bool,
}

impl Verifier {
    /// A verifier of `scheme` with `keys`: one keyring, or a choice of keyrings by request.
    ///
    /// # Errors
    ///
    /// When a secret is not written as the scheme says secrets are.
    pub fn new(scheme: Scheme, keys: impl Into<Keys>) -> Result<Self, KeyringError> {
        let keys = keys.into();
        keys.bind(scheme.secret_format())?;
        Ok(Self { scheme: Arc::new(scheme), keys, keeps_headers: false })
    }

    /// The same, with the headers that the scheme reads kept in each delivery, for an inbox to store.
    pub(crate) fn keeping_headers(self) -> Self {
        Self { keeps_headers: true, ..self }
    }

    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Whether anything could be verified at `now`.
    pub(crate) fn has_keys(&self, now: Timestamp) -> bool {
        self.keys.are_usable(now)
    }

    /// Verifies a whole request as of `now`.
    ///
    /// # Errors
    ///
    /// When it cannot be accepted; see the [module](self).
    pub fn verify(&self, request: &RequestView<'_>, now: Timestamp) -> Result<Verified<Bytes>, Rejection> {
        let mut verifying = self.begin(&request.head(), now)?;
        verifying.update(request.body());
        verifying.finish(request.body().clone())
    }

    /// Reads the head and starts a MAC under every active key, to be fed while the body arrives.
    pub(crate) fn begin(&self, head: &RequestHead<'_>, now: Timestamp) -> Result<Verifying, Rejection> {
        let (tenant, keys) = self.keys.choose(head, &self.scheme);
        self.begin_with(tenant, keys, head, now)
    }

    fn begin_with(
        &self,
        tenant: Option<TenantId>,
        keys: Arc<KeySet>,
        head: &RequestHead<'_>,
        now: Timestamp,
    ) -> Result<Verifying, Rejection> {
        let reading = self.scheme.read(head)?;
        let mut macs: SmallVec<[RunningMac; 2]> = keys.active(now).map(|(_, key)| key.start()).collect();
        if macs.is_empty() {
            return Err(RejectionKind::NoActiveKey.into());
        }
        // Where no signed id names the delivery, its signed content does. Whether a pointer leads to an id is known
        // once the body is there: until then the digest stands before the body.
        let by_pointer = matches!(self.scheme.id(), IdSource::Pointer(_));
        let mut digest = (by_pointer || !self.scheme.signs_id()).then(RunningDigest::default);
        let content = self.scheme.content();
        reading.feed(content.before_body(), head, |bytes| {
            macs.iter_mut().for_each(|mac| mac.update(bytes));
            digest.iter_mut().for_each(|digest| digest.update(bytes));
        });
        let suffix = reading.suffix(content, head);
        let headers = if self.keeps_headers { self.scheme.headers_read(head) } else { Vec::new() };
        let HeadReading { signatures, timestamp, id, event_type, .. } = reading;
        Ok(Verifying {
            scheme: Arc::clone(&self.scheme),
            headers,
            tenant,
            keys,
            now,
            macs,
            digest,
            suffix,
            signatures,
            timestamp,
            id,
            event_type,
        })
    }
}

/// A verification whose body is still arriving.
pub(crate) struct Verifying {
    scheme: Arc<Scheme>,
    /// For a store to keep; empty where nobody asked for them.
    headers: Vec<(String, Vec<u8>)>,
    tenant: Option<TenantId>,
    keys: Arc<KeySet>,
    now: Timestamp,
    macs: SmallVec<[RunningMac; 2]>,
    /// Of the signed content, where that may have to name the delivery.
    digest: Option<RunningDigest>,
    suffix: Vec<u8>,
    signatures: SmallVec<[crate::crypto::Tag; 2]>,
    timestamp: Option<Timestamp>,
    id: Option<DeliveryId>,
    event_type: Option<EventType>,
}

impl Verifying {
    /// Feeds the next piece of the body.
    pub(crate) fn update(&mut self, chunk: &[u8]) {
        self.macs.iter_mut().for_each(|mac| mac.update(chunk));
        if !matches!(self.scheme.id(), IdSource::Pointer(_)) {
            self.digest.iter_mut().for_each(|digest| digest.update(chunk));
        }
    }

    /// Decides. `body` is all that was fed, in one piece.
    pub(crate) fn finish(mut self, body: Bytes) -> Result<Verified<Bytes>, Rejection> {
        let suffix = std::mem::take(&mut self.suffix);
        self.update(&suffix);
        let mut matched = FirstMatch::none();
        for (index, mac) in (0_u32..).zip(self.macs) {
            matched.fold(index, mac.matches_any(&self.signatures));
        }
        let key = matched.index().filter(|_| !self.keys.is_decoy());
        let Some((key_id, _)) = key.and_then(|index| self.keys.active(self.now).nth(index)) else {
            // The sender may have begun to sign with a key that is still on its way here.
            let kind =
                if self.keys.is_rotating(self.now) { RejectionKind::Rotating } else { RejectionKind::WrongSignature };
            return Err(kind.into());
        };
        self.scheme.check_freshness(self.timestamp, self.now)?;
        let key_id = key_id.clone();
        let (id, identity) = match (self.scheme.id(), self.digest) {
            (IdSource::Pointer(pointer), digest) => match id_in_body(&body, pointer) {
                Some(id) => (Some(id), Identity::SignedId),
                // A body without the id, as in Slack's slash commands: what is left to know it by is its content.
                None => {
                    let mut digest = digest.unwrap_or_default();
                    digest.update(&body);
                    digest.update(&suffix);
                    (None, Identity::Content(digest.finish()))
                }
            },
            (_, Some(digest)) => (self.id, Identity::Content(digest.finish())),
            (_, None) => (self.id, Identity::SignedId),
        };
        let authenticated = Authenticated {
            body: true,
            id: self.scheme.signs_id() && id.is_some(),
            timestamp: self.scheme.signs_timestamp(),
            event_type: self.scheme.signs_event_type(),
        };
        let delivery = Delivery {
            source: self.scheme.name().clone(),
            tenant: self.tenant,
            id,
            event_type: self.event_type,
            timestamp: self.timestamp,
            received_at: self.now,
            key_id,
            authenticated,
            identity,
            headers: self.headers,
            raw: body.clone(),
        };
        Ok(Verified::assertion(body, delivery))
    }
}

impl Scheme {
    /// Whether a signed time is close enough to `now`, counted in whole seconds as senders do.
    fn check_freshness(&self, signed: Option<Timestamp>, now: Timestamp) -> Result<(), Rejection> {
        let (Some(tolerance), Some(signed)) = (self.tolerance(), signed) else {
            return Ok(());
        };
        if now.as_secs().abs_diff(signed.as_secs()) <= tolerance.as_secs() {
            Ok(())
        } else if signed < now {
            Err(RejectionKind::TooOld.into())
        } else {
            Err(RejectionKind::TooNew.into())
        }
    }
}

fn id_in_body(body: &[u8], pointer: &str) -> Option<DeliveryId> {
    DeliveryId::new(&find_by_pointer(body, pointer)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::{Keyring, Secret};

    /// What the bodies under these values of the signed header are known by.
    fn digests(scheme: &Scheme, deliveries: &[(&str, &[u8])]) -> Vec<Option<[u8; 32]>> {
        let keyring = Keyring::single(Secret::new("secret").unwrap());
        let signer = Signer::new(scheme.clone(), keyring.clone()).unwrap();
        let verifier = Verifier::new(scheme.clone(), keyring).unwrap();
        let now = Timestamp::from_secs(1_750_000_000);
        let digest = |(kind, body): &(&str, &[u8])| {
            let headers = signer.sign(&Message::new(body, now).headers(&[("x-kind", kind)])).unwrap();
            let verified = verifier.verify(&RequestView::new(&headers, body.to_vec()), now).unwrap();
            match verified.delivery().identity() {
                Identity::Content(digest) => Some(digest),
                Identity::SignedId => None,
            }
        };
        deliveries.iter().map(digest).collect()
    }

    #[test]
    fn a_delivery_without_its_id_is_known_by_all_that_is_signed() {
        for content in ["{header:x-kind}.{body}", "{body}.{header:x-kind}"] {
            let builder = Scheme::builder("acme").signature_header("x-signature").content(content);
            for scheme in [builder.clone().id_pointer("/id"), builder] {
                let scheme = scheme.build().unwrap();
                let found = digests(&scheme, &[("a", b"{}"), ("b", b"{}"), ("a", b"[]"), ("a", b"{}")]);
                assert!(found.iter().all(Option::is_some), "{content}");
                assert_eq!(found[0], found[3], "{content}");
                assert!(found[0] != found[1] && found[0] != found[2], "{content}");
            }
        }
        let scheme = Scheme::builder("acme").signature_header("x-signature").content("{body}");
        let scheme = scheme.id_pointer("/id").build().unwrap();
        assert_eq!(digests(&scheme, &[("", br#"{"id":"evt_1"}"#)]), [None]);
    }
}
