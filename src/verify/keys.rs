//! Which keyring a request is verified with: always the same one, or one chosen by request.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::encoding::SecretFormat;
use crate::ids::{InvalidId, TenantId};
use crate::keyring::{KeySet, Keyring, KeyringError};
use crate::request::{FieldLine, RequestHead};
use crate::scheme::Scheme;
use crate::time::Timestamp;

/// The keys of a receiver: one [`Keyring`], or a choice of keyrings by request.
#[derive(Clone)]
pub struct Keys(Choice);

#[derive(Clone)]
enum Choice {
    One(Keyring),
    ByRequest { resolver: Arc<dyn KeyResolver>, decoy: Keyring },
}

/// Chooses the keyring of a request by its head, such as by a path parameter.
///
/// Return `None` for a choice that does not exist: the request is then verified under a key that nobody has, at the
/// same cost and with the same answer as a wrong signature, so that nobody learns which tenants there are. For that to
/// hold, the look-up itself should cost the same for both.
pub trait KeyResolver: Send + Sync + 'static {
    /// The tenant that `head` is for.
    fn resolve(&self, head: &RequestHead<'_>) -> Option<Tenant>;

    /// The tenant of this name, to verify a stored delivery of its anew; `None` when there is no such tenant any more,
    /// or the resolver cannot tell, which is what this does unless it is written.
    fn by_id(&self, id: &TenantId) -> Option<Tenant> {
        let _ = id;
        None
    }
}

/// One of several senders, each with its own secret.
#[derive(Clone, Debug)]
pub struct Tenant {
    id: TenantId,
    keyring: Keyring,
}

impl Tenant {
    /// A tenant called `name`, whose deliveries are never duplicates of another tenant's.
    ///
    /// # Errors
    ///
    /// When `name` is not 1 to 256 visible ASCII characters.
    pub fn new(name: &str, keyring: Keyring) -> Result<Self, InvalidId> {
        Ok(Self { id: TenantId::new(name)?, keyring })
    }
}

impl Keys {
    /// Keys that `resolver` chooses for each request.
    #[must_use]
    pub fn by_request(resolver: impl KeyResolver) -> Self {
        Self(Choice::ByRequest { resolver: Arc::new(resolver), decoy: Keyring::decoy() })
    }

    /// Prepares the keys that are known already for a scheme's way to write secrets.
    pub(crate) fn bind(&self, format: &SecretFormat) -> Result<(), KeyringError> {
        match &self.0 {
            Choice::One(keyring) => keyring.bind(format),
            Choice::ByRequest { decoy, .. } => decoy.bind(format),
        }
    }

    /// Whether there is a key that counts at `now`. Of keys that are chosen by request nothing is known without one.
    pub(super) fn are_usable(&self, now: Timestamp) -> bool {
        match &self.0 {
            Choice::One(keyring) => keyring.snapshot().primary(now).is_some(),
            Choice::ByRequest { .. } => true,
        }
    }

    /// The keys for `head`, and the tenant whose they are.
    pub(crate) fn choose(&self, head: &RequestHead<'_>, scheme: &Scheme) -> (Option<TenantId>, Arc<KeySet>) {
        match &self.0 {
            Choice::One(keyring) => (None, keyring.snapshot()),
            Choice::ByRequest { resolver, decoy } => {
                // The same steps for a tenant that there is and one that there is not.
                let (tenant, keyring) = match resolver.resolve(head) {
                    Some(Tenant { id, keyring }) => (Some(id), keyring),
                    None => (None, decoy.clone()),
                };
                let keys = prepared(&keyring, scheme, tenant.as_ref());
                (tenant, keys)
            }
        }
    }

    /// The keys of the tenant that a stored delivery names; `None` where it is not known any more.
    pub(super) fn of_tenant(&self, tenant: Option<&TenantId>, scheme: &Scheme) -> Option<Arc<KeySet>> {
        match (&self.0, tenant) {
            (Choice::One(keyring), None) => Some(keyring.snapshot()),
            (Choice::ByRequest { resolver, .. }, Some(id)) => {
                let tenant = resolver.by_id(id).filter(|tenant| tenant.id == *id)?;
                Some(prepared(&tenant.keyring, scheme, Some(id)))
            }
            _ => None,
        }
    }
}

fn prepared(keyring: &Keyring, scheme: &Scheme, tenant: Option<&TenantId>) -> Arc<KeySet> {
    let keys = keyring.bind(scheme.secret_format()).map(|()| keyring.snapshot());
    // Keys that cannot be prepared are none, which is the operator's mistake and answered as one.
    keys.unwrap_or_else(|error| {
        tracing::error!(tenant = tenant.map(TenantId::as_str), %error, "a tenant's keys cannot be used");
        Arc::new(KeySet::unusable())
    })
}

impl From<Keyring> for Keys {
    fn from(keyring: Keyring) -> Self {
        Self(Choice::One(keyring))
    }
}

impl From<Tenants> for Keys {
    fn from(tenants: Tenants) -> Self {
        Self::by_request(tenants)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Choice::One(keyring) => f.debug_tuple("Keys").field(keyring).finish(),
            Choice::ByRequest { .. } => f.write_str("Keys(by request)"),
        }
    }
}

/// Keyrings by name, chosen by a path parameter or a header; tenants come and go while serving.
///
/// A clone is another handle to the same tenants.
#[derive(Clone)]
pub struct Tenants {
    by: By,
    keyrings: Arc<ArcSwap<HashMap<Box<str>, Tenant>>>,
}

#[derive(Clone, Debug)]
enum By {
    Header(Arc<str>),
    Param(Arc<str>),
}

impl Tenants {
    /// Tenants named by the path parameter `name`, such as `tenant` in `/webhooks/{tenant}`.
    #[must_use]
    pub fn by_param(name: &str) -> Self {
        Self { by: By::Param(name.into()), keyrings: Arc::default() }
    }

    /// Tenants named by the header `name`.
    #[must_use]
    pub fn by_header(name: &str) -> Self {
        Self { by: By::Header(name.to_ascii_lowercase().into()), keyrings: Arc::default() }
    }

    /// Adds a tenant, or replaces the one of that name. Takes effect for the next request.
    ///
    /// # Errors
    ///
    /// When `name` is not 1 to 256 visible ASCII characters.
    pub fn insert(&self, name: &str, keyring: Keyring) -> Result<(), InvalidId> {
        let tenant = Tenant::new(name, keyring)?;
        self.keyrings.rcu(|keyrings| {
            let mut keyrings = HashMap::clone(keyrings);
            keyrings.insert(name.into(), tenant.clone());
            keyrings
        });
        Ok(())
    }

    /// Takes a tenant away; its deliveries are then refused like those of a tenant that never was.
    pub fn remove(&self, name: &str) {
        self.keyrings.rcu(|keyrings| {
            let mut keyrings = HashMap::clone(keyrings);
            keyrings.remove(name);
            keyrings
        });
    }
}

impl KeyResolver for Tenants {
    fn resolve(&self, head: &RequestHead<'_>) -> Option<Tenant> {
        let name = match &self.by {
            By::Param(name) => head.param(name)?,
            By::Header(name) => match head.header(name) {
                FieldLine::One(value) => std::str::from_utf8(value).ok()?,
                FieldLine::Absent | FieldLine::Several => return None,
            },
        };
        self.keyrings.load().get(name).cloned()
    }

    fn by_id(&self, id: &TenantId) -> Option<Tenant> {
        self.keyrings.load().get(id.as_str()).cloned()
    }
}

impl fmt::Debug for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenants").field("by", &self.by).field("len", &self.keyrings.load().len()).finish()
    }
}
