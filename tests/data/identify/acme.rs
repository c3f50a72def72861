use std::time::Duration;

use countersign::{MacEncoding, Scheme, SchemeError, SecretEncoding, SecretFormat};

pub fn scheme() -> Result<Scheme, SchemeError> {
    Scheme::builder("acme")
        .signature_header("x-acme-signature")
        .separator(',')
        .prefix("v1=")
        .encoding(MacEncoding::Hex)
        .timestamp_element("t=")
        .id_header("x-acme-id")
        .event_type_header("x-acme-event")
        .content("{id}.{timestamp}.{body}")
        .secret(SecretFormat::encoded(SecretEncoding::Base64).strip_prefix("whsec_"))
        .tolerance(Duration::from_secs(300))
        .retry_horizon(Duration::from_secs(259200))
        .build()
}
