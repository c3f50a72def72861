//! The whole rotation in one call: the provider's new secret, and its place in the receiver's keyring.

use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::Client;
use super::error::Error;
use super::ids::WebhookId;
use super::webhook::RotatedSecret;
use crate::ids::KeyId;
use crate::keyring::{Key, KeyFile, KeyFileRotation, KeyInfo, Keyring, KeyringError, Rotation, Secret};
use crate::time::{Clock, SystemClock, Timestamp};

/// For how long a keyring stays marked when it is not known whether the provider rotated.
const LIMIT: Duration = Duration::from_mins(15);
/// How long those who follow a key file take to see a change, with [`Keyring::watch`], and a little more.
const FILE_SEEN: Duration = Duration::from_millis(2_500);

/// How to rotate.
///
/// ```
/// use std::time::Duration;
/// use countersign::KeyId;
/// use countersign::kycgenie::client::RotationOptions;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let options = RotationOptions::new(Duration::from_hours(24)).key_id(KeyId::new("2026-12")?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is rotated until it is given to a client"]
pub struct RotationOptions {
    overlap: Duration,
    key_id: Option<KeyId>,
    limit: Duration,
    file_seen: Duration,
}

impl RotationOptions {
    /// The old keys count for another `overlap`. Choose it longer than the sender's retries last, since a retry may carry
    /// the old signature; for how long the provider retries is not published.
    pub fn new(overlap: Duration) -> Self {
        Self { overlap, key_id: None, limit: LIMIT, file_seen: FILE_SEEN }
    }

    /// What the new key is called. Unless told, it is the first eight characters of the webhook's id and the time, as in
    /// `f67f165d-2026-11-24T13:05:07Z`, with a number behind it where that is taken.
    pub fn key_id(self, id: KeyId) -> Self {
        Self { key_id: Some(id), ..self }
    }

    /// For how long the keyring stays marked as rotating where it is not known whether the provider rotated; 15 minutes
    /// unless told, and at least the client's deadline.
    pub fn limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// How long all who follow the key file take to see a change: two of their intervals; 2.5 seconds unless told, which is
    /// right for [`Keyring::watch`]. Only [`Client::rotate_into_file`] waits for them.
    pub fn file_seen_within(self, time: Duration) -> Self {
        Self { file_seen: time, ..self }
    }
}

/// A secret that was rotated and is in the keyring.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rotated {
    /// The new primary key.
    pub key_id: KeyId,
    /// The provider's words.
    pub message: String,
}

/// Why a rotation did not come to its end. What it left behind differs, and so does what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RotateError {
    /// It did not begin: the provider was not asked, and the keyring is as it was.
    #[error("the rotation did not begin, and nothing has changed: {reason}")]
    NotBegun {
        /// Why.
        #[source]
        reason: KeyringError,
    },

    /// The provider has certainly not rotated. The keyring is as it was; where an earlier rotation had left it marked, it
    /// still is, for the length of the new limit.
    #[error("{error}; the provider has kept its secret, and the keyring is as it was")]
    Refused {
        /// Why.
        #[source]
        error: Error,
    },

    /// The provider may have rotated, and nobody holds its new secret.
    #[error(
        "{error}; the provider may have made a new secret all the same and already sign with it, and nobody holds that \
         secret, since it is shown once: rotate again, which recovers. Until {until} deliveries that no key matches are \
         answered 503, so that they come back"
    )]
    MayHaveRotated {
        /// What happened.
        #[source]
        error: Error,
        /// Until when the keyring is marked as rotating.
        until: Timestamp,
    },

    /// The provider has rotated, and the keyring does not take the new secret, which is here.
    #[error(
        "the provider has rotated, and the new secret is not in the keyring as `{key_id}` ({reason}): put it there from \
         this error, or rotate again; until {until} deliveries that no key matches are answered 503"
    )]
    NotInstalled {
        /// Why.
        #[source]
        reason: KeyringError,
        /// What the key would have been called.
        key_id: KeyId,
        /// The new secret. It is nowhere else.
        secret: Secret,
        /// Until when the keyring is marked as rotating.
        until: Timestamp,
    },
}

impl Client {
    /// Rotates a webhook's secret and puts the new one into `keyring`, where the old ones count for another `overlap`.
    ///
    /// Between the provider's new secret and its arrival here, a signature that no key matches may be genuine. The keyring
    /// is therefore marked as rotating first: meanwhile such a delivery gets 503 with `Retry-After` instead of 401, and
    /// comes back. The new key is put in and the mark is taken off in one step.
    ///
    /// | how it ends | keyring | what to do |
    /// |---|---|---|
    /// | `Ok` | new key, old ones in overlap, no mark | – |
    /// | [`RotateError::NotBegun`], [`RotateError::Refused`] | as it was | see the reason |
    /// | [`RotateError::MayHaveRotated`] | marked for 15 minutes | rotate again |
    /// | [`RotateError::NotInstalled`] | marked for 15 minutes | put in the secret that is in the error, or rotate again |
    /// | the future is dropped | marked for 15 minutes | rotate again |
    /// | **the process dies** | gone with the process, its mark too | rotate again, once it is up |
    ///
    /// The provider shows a new secret once. A process that dies between the provider's answer and the end of this call
    /// takes it along, and a new process starts with the old secret, without the mark: it answers 401 to whatever
    /// the provider signs with the lost secret, until a second rotation replaces that one, too. For keys that outlive a
    /// process, and for many processes, see [`Client::rotate_into_file`].
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use countersign::Keyring;
    /// # use countersign::kycgenie::client::{Client, RotateError, WebhookId};
    /// # async fn run(client: Client, id: WebhookId, keyring: Keyring) -> Result<(), RotateError> {
    /// let rotated = client.rotate_into(&id, &keyring, Duration::from_hours(24)).await?;
    /// println!("deliveries are now signed with {}", rotated.key_id);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`RotateError`], and the table above.
    pub async fn rotate_into(
        &self,
        id: &WebhookId,
        keyring: &Keyring,
        overlap: Duration,
    ) -> Result<Rotated, RotateError> {
        self.rotate_into_with(id, keyring, &RotationOptions::new(overlap)).await
    }

    /// The same, with a name for the key or another limit.
    ///
    /// # Errors
    ///
    /// As [`Client::rotate_into`].
    pub async fn rotate_into_with(
        &self,
        id: &WebhookId,
        keyring: &Keyring,
        options: &RotationOptions,
    ) -> Result<Rotated, RotateError> {
        let now = SystemClock.now();
        let limit = options.limit.max(self.0.deadline);
        let begin = || {
            let key_id = new_key_id(&keyring.keys(), id, options, now)?;
            let doubtful = keyring.rotating_until().is_some_and(|until| until > now);
            Ok((key_id, doubtful, keyring.begin_rotation_at(limit, now)?))
        };
        let (key_id, doubtful, rotation) = begin().map_err(|reason| RotateError::NotBegun { reason })?;
        let until = now.saturating_add(limit);
        let RotatedSecret { secret, message } = match self.rotate_secret(id).await {
            Ok(rotated) => rotated,
            Err(error) => return Err(failed(rotation, error, doubtful, until)),
        };
        let key = Key::new(key_id.clone(), secret.clone());
        match rotation.install(key, options.overlap) {
            Ok(()) => Ok(Rotated { key_id, message }),
            Err(reason) => Err(RotateError::NotInstalled { reason, key_id, secret, until }),
        }
    }

    /// Rotates a webhook's secret into the key file at `path`, which any number of processes follow by
    /// [`Keyring::watch`].
    ///
    /// As [`Client::rotate_into`], with the file in the keyring's place: the mark stands in the file, so that it outlives
    /// this process. Before the provider is asked, all who follow the file get the time to see it
    /// ([`RotationOptions::file_seen_within`]). If this process dies in between, the new secret is gone, and the others
    /// answer 503 to what no key matches until the mark's limit has passed: rotate again before that.
    ///
    /// # Errors
    ///
    /// As [`Client::rotate_into`].
    pub async fn rotate_into_file(
        &self,
        id: &WebhookId,
        path: impl AsRef<Path> + Send,
        options: &RotationOptions,
    ) -> Result<Rotated, RotateError> {
        let path = path.as_ref().to_owned();
        let now = SystemClock.now();
        let limit = options.limit.max(self.0.deadline.saturating_add(options.file_seen));
        let begun = {
            let (id, options) = (id.clone(), options.clone());
            blocking(move || begin_in_file(&path, &id, &options, limit, now)).await
        };
        let (key_id, doubtful, rotation) = begun.map_err(|reason| RotateError::NotBegun { reason })?;
        let until = now.saturating_add(limit);
        tokio::time::sleep(options.file_seen).await;
        let RotatedSecret { secret, message } = match self.rotate_secret(id).await {
            Ok(rotated) => rotated,
            Err(error) => return Err(blocking(move || failed(rotation, error, doubtful, until)).await),
        };
        let key = Key::new(key_id.clone(), secret.clone());
        let overlap = options.overlap;
        match blocking(move || rotation.install(key, overlap)).await {
            Ok(()) => Ok(Rotated { key_id, message }),
            Err(reason) => Err(RotateError::NotInstalled { reason, key_id, secret, until }),
        }
    }
}

fn begin_in_file(
    path: &PathBuf,
    id: &WebhookId,
    options: &RotationOptions,
    limit: Duration,
    now: Timestamp,
) -> Result<(KeyId, bool, KeyFileRotation), KeyringError> {
    let before = read(path)?;
    let key_id = new_key_id(&before.keys(), id, options, now)?;
    let doubtful = before.rotating_until().is_some_and(|until| until > now);
    Ok((key_id, doubtful, KeyFile::begin_rotation(path, limit)?))
}

fn read(path: &Path) -> Result<Keyring, KeyringError> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|reason| KeyringError::Unreadable { reason });
    text.and_then(|text| Keyring::from_toml(&text))
        .map_err(|reason| KeyringError::File { path: path.to_owned(), reason: Box::new(reason) })
}

/// What the new key is called; an error where the ring would not take it, found before the provider is asked.
fn new_key_id(
    keys: &[KeyInfo],
    id: &WebhookId,
    options: &RotationOptions,
    now: Timestamp,
) -> Result<KeyId, KeyringError> {
    let end = now.saturating_add(options.overlap);
    // As `Keyring::rotate` drops them: what has ended, and what would begin behind the overlap only.
    let stays = |key: &&KeyInfo| {
        key.not_after().is_none_or(|own| own > now) && key.not_before().is_none_or(|begin| begin < end) && end > now
    };
    let count = keys.iter().filter(stays).count() + 1;
    if count > Keyring::MAX_KEYS {
        return Err(KeyringError::TooManyKeys { count });
    }
    let taken = |id: &KeyId| keys.iter().any(|key| key.id() == id);
    if let Some(id) = options.key_id.clone() {
        return if taken(&id) { Err(KeyringError::DuplicateId { id }) } else { Ok(id) };
    }
    let begin: String = id.as_str().chars().take(8).collect();
    // Whole seconds: the milliseconds of `…07.000Z` say nothing.
    let second = Timestamp::from_secs(now.as_secs()).to_string().replace(".000", "");
    (1..=keys.len() + 1)
        .map(|number| if number == 1 { format!("{begin}-{second}") } else { format!("{begin}-{second}-{number}") })
        .map(|name| {
            KeyId::new(&name).map_err(|reason| KeyringError::InvalidId { which: "the new key".to_owned(), reason })
        })
        .find(|id| id.as_ref().is_ok_and(|id| !taken(id)) || id.is_err())
        .unwrap_or(Err(KeyringError::TooManyKeys { count }))
}

/// The end of a rotation whose call failed.
///
/// Where the keyring was marked already, an earlier rotation is in doubt: that this one was refused proves nothing about
/// that one, so the mark stays.
fn failed(rotation: impl Begun, error: Error, doubtful: bool, until: Timestamp) -> RotateError {
    if error.may_have_been_done() || doubtful {
        drop(rotation);
        return if error.may_have_been_done() {
            RotateError::MayHaveRotated { error, until }
        } else {
            RotateError::Refused { error }
        };
    }
    if let Err(reason) = rotation.abandon() {
        tracing::warn!(%reason, %until, "the mark of a rotation that was refused cannot be taken off");
    }
    RotateError::Refused { error }
}

/// A rotation of a keyring or of a key file.
trait Begun {
    fn abandon(self) -> Result<(), KeyringError>;
}

impl Begun for Rotation {
    fn abandon(self) -> Result<(), KeyringError> {
        self.abandon();
        Ok(())
    }
}

impl Begun for KeyFileRotation {
    fn abandon(self) -> Result<(), KeyringError> {
        self.abandon()
    }
}

/// Runs what waits for a disk where nobody else waits for it.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // A runtime that shuts down drops the work, and with it this future.
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook() -> WebhookId {
        WebhookId::new("f67f165d-0d1e-4eb7-81e6-3494a260dcd4").unwrap()
    }

    fn ring(ids: impl IntoIterator<Item = String>) -> Vec<KeyInfo> {
        let key = |id: String| Key::new(KeyId::new(&id).unwrap(), Secret::new("s").unwrap());
        Keyring::new(ids.into_iter().map(key)).unwrap().keys()
    }

    #[test]
    fn a_key_is_called_by_webhook_and_time_and_never_as_another() {
        let now = Timestamp::parse_rfc3339("2026-11-24T13:05:07.999Z").unwrap();
        let options = RotationOptions::new(Duration::from_secs(60));
        let called = |keys: &[KeyInfo]| new_key_id(keys, &webhook(), &options, now).unwrap();
        let plain = "f67f165d-2026-11-24T13:05:07Z".to_owned();
        assert_eq!(called(&ring(["default".to_owned()])), *plain);
        assert_eq!(called(&ring([plain.clone()])), *format!("{plain}-2"));
        assert_eq!(called(&ring([plain.clone(), format!("{plain}-2")])), *format!("{plain}-3"));
        let short = new_key_id(&[], &WebhookId::new("w").unwrap(), &options, now).unwrap();
        assert_eq!(short, "w-2026-11-24T13:05:07Z");
    }

    #[test]
    fn what_the_ring_would_not_take_is_found_before_the_provider_is_asked() {
        let now = SystemClock.now();
        let own = RotationOptions::new(Duration::from_secs(60)).key_id(KeyId::new("mine").unwrap());
        assert_eq!(new_key_id(&ring(["a".to_owned()]), &webhook(), &own, now).unwrap(), "mine");
        let taken = new_key_id(&ring(["mine".to_owned()]), &webhook(), &own, now);
        assert!(matches!(taken, Err(KeyringError::DuplicateId { id }) if id == "mine"));

        let full = ring((0..Keyring::MAX_KEYS).map(|n| n.to_string()));
        assert!(matches!(
            new_key_id(&full, &webhook(), &own, now),
            Err(KeyringError::TooManyKeys { count }) if count == Keyring::MAX_KEYS + 1
        ));
        let without_overlap = RotationOptions::new(Duration::ZERO);
        assert!(new_key_id(&full, &webhook(), &without_overlap, now).is_ok());
    }
}
