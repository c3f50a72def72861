//! Names of things: newtypes that are bounded and printable, so that they may be logged and stored as they are.

use std::borrow::Cow;
use std::sync::Arc;

/// A text that cannot be an identifier: empty, too long, or with a byte that is not visible ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an identifier is 1 to {max} visible ASCII characters, without spaces")]
pub struct InvalidId {
    max: usize,
}

/// What every newtype around a checked text has: it is read with its own `new`, shown as it is, and compared with texts.
macro_rules! textual {
    ($name:ident, $invalid:ident) => {
        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $invalid;

            fn from_str(text: &str) -> Result<Self, $invalid> {
                Self::new(text)
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                *self.0 == *other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                *self.0 == **other
            }
        }
    };
}
pub(crate) use textual;

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident($repr:ty), at most $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($repr);

        impl $name {
            /// The longest text that is accepted, in bytes.
            pub const MAX_LEN: usize = $max;

            /// Checks and copies `text`.
            ///
            /// # Errors
            ///
            /// When `text` is empty, longer than [`Self::MAX_LEN`], or holds anything but visible ASCII.
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                check(text.as_bytes(), $max).map(|text| Self(<$repr>::from(text.to_owned())))
            }

            /// The same from bytes as they stand in a header.
            ///
            /// # Errors
            ///
            /// As [`Self::new`].
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidId> {
                check(bytes, $max).map(|text| Self(<$repr>::from(text.to_owned())))
            }
        }

        $crate::ids::textual!($name, InvalidId);
    };
}

identifier! {
    /// The sender's name for one delivery, the same across its retries. At most 256 bytes.
    ///
    /// It proves nothing by itself: whether the signature covers it is told by
    /// [`Authenticated`](crate::Authenticated).
    DeliveryId(Box<str>), at most 256
}

identifier! {
    /// The sender's name for a kind of event, such as `screening.completed`. At most 256 bytes.
    EventType(Cow<'static, str>), at most 256
}

identifier! {
    /// The operator's name for a key, shown in logs. At most 128 bytes. Never put a secret here.
    KeyId(Arc<str>), at most 128
}

identifier! {
    /// Who sends: the provider's name. Part of every dedupe key, so that two sources never share an id. At most 256
    /// bytes.
    Source(Arc<str>), at most 256
}

identifier! {
    /// One of several customers of a provider, each with a secret of its own. Part of every dedupe key. At most 256
    /// bytes.
    TenantId(Arc<str>), at most 256
}

impl Source {
    /// Stands in for a name that was refused, in a value that is never handed out.
    pub(crate) fn placeholder() -> Self {
        Self(Arc::from("-"))
    }
}

impl EventType {
    /// The same as [`EventType::new`] without a copy: an enum that is written by hand may know any name.
    pub(crate) fn known(name: &'static str) -> Result<Self, InvalidId> {
        check(name.as_bytes(), Self::MAX_LEN).map(|name| Self(Cow::Borrowed(name)))
    }

    /// A type name that is known at compile time; costs nothing.
    ///
    /// # Panics
    ///
    /// When `name` is not 1 to 256 visible ASCII characters; in a `const`, at compile time.
    #[must_use]
    #[allow(clippy::panic, reason = "a mistake in the source code, found at compile time in a const")]
    pub const fn from_static(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() <= Self::MAX_LEN, "an event type is 1 to 256 bytes");
        let mut at = 0;
        while at < bytes.len() {
            assert!(bytes[at].is_ascii_graphic(), "an event type is visible ASCII without spaces");
            at += 1;
        }
        Self(Cow::Borrowed(name))
    }
}

fn check(bytes: &[u8], max: usize) -> Result<&str, InvalidId> {
    if bytes.is_empty() || bytes.len() > max || !bytes.iter().all(u8::is_ascii_graphic) {
        return Err(InvalidId { max });
    }
    std::str::from_utf8(bytes).map_err(|_| InvalidId { max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_bounded_and_printable() {
        assert!(DeliveryId::new("msg_p5jXN8AQM9LWM0D4loKWxJek").is_ok());
        assert!(DeliveryId::new(&"x".repeat(256)).is_ok());
        for bad in ["", "a b", "a\nb", "\u{e9}", "a\0", &"x".repeat(257)] {
            assert!(DeliveryId::new(bad).is_err(), "{bad:?}");
        }
        assert!(KeyId::from_bytes(b"\xff").is_err());
    }

    #[test]
    fn a_static_event_type_equals_an_owned_one() {
        const TYPE: EventType = EventType::from_static("screening.completed");
        assert_eq!(EventType::new("screening.completed"), Ok(TYPE));
        assert_eq!(TYPE, "screening.completed");
    }
}
