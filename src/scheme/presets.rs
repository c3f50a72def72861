//! The schemes of well-known providers.

use std::time::Duration;

use crate::encoding::{MacEncoding, SecretEncoding, SecretFormat};
use crate::scheme::{Scheme, SchemeBuilder};

const HOUR: u64 = 60 * 60;

impl Scheme {
    /// GitHub: `X-Hub-Signature-256: sha256=<hex>` over the body alone.
    ///
    /// Neither the id (`X-GitHub-Delivery`) nor the event type (`X-GitHub-Event`) is signed, so a delivery is known by
    /// its body and a replayed body is a duplicate whatever id it comes under. No time is signed either: a captured
    /// delivery verifies for ever and only the dedupe store's retention stops it. Two events with the very same body are
    /// one delivery, whatever their types: give types of which that may be a receiver each, with a store of its own.
    /// Give the event enum no `tag`.
    ///
    /// Source: GitHub Docs, "Validating webhook deliveries". GitHub does not retry by itself; its documents allow a
    /// manual redelivery for three days, which is the retry horizon here.
    #[must_use]
    pub fn github() -> Self {
        let scheme = Self::builder("github")
            .signature_header("x-hub-signature-256")
            .prefix("sha256=")
            .encoding(MacEncoding::Hex)
            .id_header("x-github-delivery")
            .event_type_header("x-github-event")
            .content("{body}")
            .retry_horizon(Duration::from_secs(72 * HOUR));
        preset(scheme)
    }

    /// Shopify: `X-Shopify-Hmac-Sha256: <base64>` over the body alone.
    ///
    /// As with [GitHub](Self::github), neither id, time nor event type (`X-Shopify-Topic`) is signed.
    ///
    /// Source: Shopify's documents, "Deliver webhooks through HTTPS", which list eight retries within four hours.
    #[must_use]
    pub fn shopify() -> Self {
        let scheme = Self::builder("shopify")
            .signature_header("x-shopify-hmac-sha256")
            .encoding(MacEncoding::Base64)
            .id_header("x-shopify-webhook-id")
            .event_type_header("x-shopify-topic")
            .content("{body}")
            .retry_horizon(Duration::from_secs(4 * HOUR));
        preset(scheme)
    }

    /// Slack: `X-Slack-Signature: v0=<hex>` over `v0:{timestamp}:{body}`.
    ///
    /// The id is the Events API's `event_id` in the body. Where there is none, as in slash commands, a delivery is
    /// known by its time and body.
    ///
    /// Source: Slack's documents, "Verifying requests from Slack" (five minutes of tolerance) and "The Events API"
    /// (three retries: at once, after a minute, after five).
    #[must_use]
    pub fn slack() -> Self {
        let scheme = Self::builder("slack")
            .signature_header("x-slack-signature")
            .prefix("v0=")
            .encoding(MacEncoding::Hex)
            .timestamp_header("x-slack-request-timestamp")
            .id_pointer("/event_id")
            .content("v0:{timestamp}:{body}")
            .tolerance(Duration::from_secs(300))
            .retry_horizon(Duration::from_secs(HOUR));
        preset(scheme)
    }

    /// Standard Webhooks: `webhook-signature: v1,<base64>[ v1,<base64>…]` over `{id}.{timestamp}.{body}`.
    ///
    /// Secrets are base64 after `whsec_`. Signatures of other versions (`v1a`, …) are passed over.
    ///
    /// Source: the Standard Webhooks specification 1.0.0, sections "Signature scheme" and "Deliverability and
    /// reliability", whose example schedule ends 75 h 35 min after the first attempt.
    #[must_use]
    pub fn standard_webhooks() -> Self {
        preset(standard_webhooks("standard-webhooks"))
    }

    /// Stripe: `Stripe-Signature: t=<seconds>,v1=<hex>[,v1=<hex>…]` over `{timestamp}.{body}`.
    ///
    /// The id is the event's own, `/id` in the body; the secret is used as text, `whsec_` and all.
    ///
    /// Source: Stripe's documents, "Resolve webhook signature verification errors" and "Webhook delivery behaviors"
    /// (five minutes of tolerance in its libraries; retries for up to three days).
    #[must_use]
    pub fn stripe() -> Self {
        let scheme = Self::builder("stripe")
            .signature_header("stripe-signature")
            .separator(',')
            .prefix("v1=")
            .encoding(MacEncoding::Hex)
            .timestamp_element("t=")
            .id_pointer("/id")
            .content("{timestamp}.{body}")
            .tolerance(Duration::from_secs(300))
            .retry_horizon(Duration::from_secs(72 * HOUR));
        preset(scheme)
    }

    /// All presets of this type.
    #[must_use]
    pub fn presets() -> [Self; 5] {
        [Self::github(), Self::shopify(), Self::slack(), Self::standard_webhooks(), Self::stripe()]
    }

    /// The scheme of Standard Webhooks for a provider of another name that follows it.
    ///
    /// # Panics
    ///
    /// When `name` is not 1 to 256 visible ASCII characters.
    #[must_use]
    #[allow(clippy::panic, reason = "a mistake in the source code, found at its first run")]
    pub fn standard_webhooks_of(name: &'static str) -> Self {
        match standard_webhooks(name).build() {
            Ok(scheme) => scheme,
            Err(_) => panic!("the provider's name {name:?} must be 1 to 256 visible ASCII characters, without spaces"),
        }
    }
}

fn standard_webhooks(name: &str) -> SchemeBuilder {
    Scheme::builder(name)
        .signature_header("webhook-signature")
        .separator(' ')
        .prefix("v1,")
        .encoding(MacEncoding::Base64)
        .timestamp_header("webhook-timestamp")
        .id_header("webhook-id")
        .content("{id}.{timestamp}.{body}")
        .secret(SecretFormat::encoded(SecretEncoding::Base64).strip_prefix("whsec_"))
        .tolerance(Duration::from_secs(300))
        .retry_horizon(Duration::from_secs(76 * HOUR))
}

fn preset(builder: SchemeBuilder) -> Scheme {
    match builder.build() {
        Ok(scheme) => scheme,
        Err(error) => unreachable!("every preset is built in a test: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_builds_and_says_what_it_signs() {
        let signed = Scheme::presets().map(|scheme| {
            (scheme.name().to_string(), scheme.signs_id(), scheme.signs_timestamp(), scheme.signs_event_type())
        });
        let expected = [
            ("github", false, false, false),
            ("shopify", false, false, false),
            ("slack", true, true, true),
            ("standard-webhooks", true, true, true),
            ("stripe", true, true, true),
        ];
        assert_eq!(signed, expected.map(|(name, id, time, kind)| (name.to_owned(), id, time, kind)));
    }

    #[test]
    #[should_panic(expected = "the provider's name \"my provider\" must be")]
    fn a_name_that_does_not_do_is_told() {
        let _ = Scheme::standard_webhooks_of("my provider");
    }
}
