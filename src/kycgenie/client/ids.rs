//! The provider's ids: texts that are safe to put into a path.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::textual;

/// A text that cannot be an id of the provider's.
///
/// Ids go into paths. One that is a name of the API's own (`config` where a webhook's id stands) would turn a request
/// into another one: deleting the webhook `config` is deleting the account's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: it is 1 to 128 visible ASCII characters, not a dot, and not `config`, `logs` or `test`")]
pub struct InvalidRef;

macro_rules! reference {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and copies `text`. Whether there is such an id is for the provider to say.
            ///
            /// # Errors
            ///
            /// When `text` cannot stand in a path; see [`InvalidRef`].
            pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidRef> {
                check(text.as_ref()).map(|text| Self(text.into()))
            }
        }

        textual!($name, InvalidRef);

        impl TryFrom<String> for $name {
            type Error = InvalidRef;

            fn try_from(text: String) -> Result<Self, InvalidRef> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.as_str().to_owned()
            }
        }
    };
}

reference! {
    /// A webhook subscription's id: a UUID, as the reference says; any other visible text is passed on as it is.
    ///
    /// `create` answers it as `webhook_id`, everything else as `id`; here it is one type.
    WebhookId
}

reference! {
    /// A row of the delivery log: a UUID, as the reference says; any other visible text is passed on as it is.
    LogId
}

fn check(text: &str) -> Result<&str, InvalidRef> {
    let printable = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if printable && !matches!(text, "." | ".." | "config" | "logs" | "test") { Ok(text) } else { Err(InvalidRef) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_never_turns_into_another_request() {
        for bad in ["", ".", "..", "config", "logs", "test", "a b", "a\n", "é", &"x".repeat(129)] {
            assert_eq!(WebhookId::new(bad), Err(InvalidRef), "{bad:?}");
            assert_eq!(LogId::new(bad), Err(InvalidRef), "{bad:?}");
        }
        for good in ["f67f165d-0d1e-4eb7-81e6-3494a260dcd4", "a/b?c#d%2e", "7"] {
            assert_eq!(WebhookId::new(good).unwrap(), good);
        }
    }
}
