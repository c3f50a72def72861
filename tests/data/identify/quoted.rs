use std::time::Duration;

use countersign::{MacEncoding, Scheme, SchemeError, SecretFormat};

pub fn scheme() -> Result<Scheme, SchemeError> {
    Scheme::builder("it's\"quoted\"")
        .signature_header("x-sig")
        .separator('\'')
        .prefix("a\"\\{")
        .encoding(MacEncoding::HexUpper)
        .id_pointer("/a\"b")
        .content("{{\né\"{body}")
        .secret(SecretFormat::text().strip_prefix("x_"))
        .retry_horizon(Duration::from_secs(259200))
        .build()
}
