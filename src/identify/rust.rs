//! A scheme as Rust source.

use std::fmt::Write as _;

use crate::encoding::{MacEncoding, SecretEncoding, SecretFormat};
use crate::scheme::{EventTypeSource, IdSource, Scheme, TimestampSource};

/// A Rust function that makes `scheme`, with the imports that it needs: it compiles as it is.
///
/// Where the scheme is a preset, the function calls it.
///
/// ```
/// use countersign::{Scheme, identify};
///
/// let scheme = Scheme::stripe();
/// assert!(identify::to_rust(&scheme).contains("Scheme::stripe()"));
/// ```
#[must_use]
pub fn to_rust(scheme: &Scheme) -> String {
    if let Some(call) = preset_call(scheme) {
        return format!("use countersign::Scheme;\n\npub fn scheme() -> Scheme {{\n    {call}\n}}\n");
    }
    let mut lines = vec![format!(".signature_header({:?})", scheme.signature().header.as_str())];
    let mut line = |text: String| lines.push(text);
    let signature = scheme.signature();
    if let Some(separator) = signature.separator {
        line(format!(".separator({separator:?})"));
    }
    if !signature.prefix.is_empty() {
        line(format!(".prefix({:?})", &*signature.prefix));
    }
    line(format!(".encoding(MacEncoding::{})", encoding(signature.encoding)));
    match scheme.timestamp() {
        TimestampSource::Element(element) => line(format!(".timestamp_element({:?})", &**element)),
        TimestampSource::Header(name) => line(format!(".timestamp_header({:?})", name.as_str())),
        TimestampSource::None => {}
    }
    match scheme.id() {
        IdSource::Header(name) => line(format!(".id_header({:?})", name.as_str())),
        IdSource::None => {}
        IdSource::Pointer(pointer) => line(format!(".id_pointer({:?})", &**pointer)),
    }
    if let EventTypeSource::Header(name) = scheme.event_type() {
        line(format!(".event_type_header({:?})", name.as_str()));
    }
    line(format!(".content({:?})", scheme.content().to_string()));
    let format = scheme.secret_format();
    if *format != SecretFormat::text() {
        line(format!(".secret({})", secret(format)));
    }
    if let Some(tolerance) = scheme.tolerance() {
        line(format!(".tolerance(Duration::from_secs({}))", tolerance.as_secs()));
    }
    line(format!(".retry_horizon(Duration::from_secs({}))", scheme.retry_horizon().as_secs()));
    let mut imports = vec!["MacEncoding", "Scheme", "SchemeError"];
    if *format != SecretFormat::text() {
        if format.encoding != SecretEncoding::Text {
            imports.push("SecretEncoding");
        }
        imports.push("SecretFormat");
    }
    let mut source = format!("use std::time::Duration;\n\nuse countersign::{{{}}};\n\n", imports.join(", "));
    source.push_str("pub fn scheme() -> Result<Scheme, SchemeError> {\n");
    let _ = writeln!(source, "    Scheme::builder({:?})", scheme.name().as_str());
    for line in lines {
        let _ = writeln!(source, "        {line}");
    }
    source.push_str("        .build()\n}\n");
    source
}

/// The call that gives `scheme`, where it is a preset, such as `Scheme::stripe()`.
pub(super) fn preset_call(scheme: &Scheme) -> Option<String> {
    if Scheme::presets().contains(scheme) {
        return Some(format!("Scheme::{}()", scheme.name().as_str().replace('-', "_")));
    }
    let standard = Scheme::standard_webhooks();
    let named = scheme.renamed(standard.name().clone());
    (named == standard).then(|| format!("Scheme::standard_webhooks_of({:?})", scheme.name().as_str()))
}

fn encoding(encoding: MacEncoding) -> &'static str {
    match encoding {
        MacEncoding::Base64 => "Base64",
        MacEncoding::Base64Url => "Base64Url",
        MacEncoding::Hex => "Hex",
        MacEncoding::HexUpper => "HexUpper",
    }
}

fn secret(format: &SecretFormat) -> String {
    let mut call = match format.encoding {
        SecretEncoding::Base64 => "SecretFormat::encoded(SecretEncoding::Base64)".to_owned(),
        SecretEncoding::Hex => "SecretFormat::encoded(SecretEncoding::Hex)".to_owned(),
        SecretEncoding::Text => "SecretFormat::text()".to_owned(),
    };
    if let Some(prefix) = &format.strip_prefix {
        let _ = write!(call, ".strip_prefix({prefix:?})");
    }
    call
}
