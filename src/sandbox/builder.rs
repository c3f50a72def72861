//! How a sandbox is set up.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::kycgenie;
use crate::sandbox::api::{Api, Failures, Served};
use crate::sandbox::deliver::{Engine, Settings, Targets};
use crate::sandbox::store::Store;
use crate::sandbox::{Assumptions, Mode, Sandbox, SandboxError};
use crate::scheme::{Mistakes, Scheme};

/// Sets up a [`Sandbox`]. Everything has a default that suits a test.
#[derive(Clone)]
#[must_use = "a sandbox runs only after `start`"]
pub struct SandboxBuilder {
    bind: String,
    bind_any: bool,
    scheme: Scheme,
    state_file: Option<PathBuf>,
    speed: f64,
    seed: Option<u64>,
    assumptions: Assumptions,
    rotation_overlap: Option<Duration>,
    keys: Vec<(String, Mode)>,
    targets: Targets,
}

impl std::fmt::Debug for SandboxBuilder {
    /// Without keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SandboxBuilder")
            .field("bind", &self.bind)
            .field("state_file", &self.state_file)
            .field("speed", &self.speed)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl Default for SandboxBuilder {
    fn default() -> Self {
        Self {
            bind: "127.0.0.1:0".to_owned(),
            bind_any: false,
            scheme: kycgenie::scheme(),
            state_file: None,
            speed: 1.0,
            seed: None,
            assumptions: Assumptions::default(),
            rotation_overlap: None,
            keys: Vec::new(),
            targets: Targets::default(),
        }
    }
}

impl SandboxBuilder {
    /// Where to listen: a loopback address and a port, or port 0 (the default) for any that is free.
    pub fn bind(self, address: impl Into<String>) -> Self {
        Self { bind: address.into(), ..self }
    }

    /// Lets [`SandboxBuilder::bind`] take an address that others can reach. **They need no key for the control API, and
    /// the keys are published in these documents**: who reaches the sandbox makes it send what and where it may send.
    pub fn danger_bind_any(self) -> Self {
        Self { bind_any: true, ..self }
    }

    /// How deliveries are signed; [`kycgenie::scheme`](crate::kycgenie::scheme) unless set.
    pub fn scheme(self, scheme: Scheme) -> Self {
        Self { scheme, ..self }
    }

    /// Keeps everything in this SQLite file, which is made if it is not there, so that it survives a restart. In memory
    /// unless set. The file holds keys and signing secrets as they are.
    pub fn state_file(self, path: impl Into<PathBuf>) -> Self {
        Self { state_file: Some(path.into()), ..self }
    }

    /// By how much waits are shorter than in life: with 60, a minute between two attempts takes a second. 1 unless set.
    /// Signed and logged times stay real, so that real receivers take them.
    pub fn speed(self, speed: f64) -> Self {
        Self { speed, ..self }
    }

    /// What the jitter of retries is made of; random unless set.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// What is not published about the provider.
    pub fn assumptions(self, assumptions: Assumptions) -> Self {
        Self { assumptions, ..self }
    }

    /// For how long after a rotation the old secret signs as well: sets [`Assumptions::rotation_overlap`].
    pub fn rotation_overlap(self, overlap: Duration) -> Self {
        Self { rotation_overlap: Some(overlap), ..self }
    }

    /// Another API key, of an account of its own. A key that the state file knows keeps its account and mode.
    pub fn api_key(mut self, key: impl Into<String>, mode: Mode) -> Self {
        self.keys.push((key.into(), mode));
        self
    }

    /// Lets deliveries go to these hosts too (names or addresses, as they stand in URLs), besides loopback.
    pub fn allow_hosts<H: Into<String>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        self.targets.hosts.extend(hosts.into_iter().map(Into::into));
        self
    }

    /// Lets deliveries go anywhere: also to whom a test's data names by accident.
    pub fn danger_send_anywhere(mut self) -> Self {
        self.targets.anywhere = true;
        self
    }

    /// Starts the sandbox, on threads of its own; it ends when it is stopped or dropped.
    ///
    /// # Errors
    ///
    /// Settings that cannot work, all of them at once; an address that is taken; a state file that cannot be used.
    pub async fn start(mut self) -> Result<Sandbox, SandboxError> {
        if let Some(overlap) = self.rotation_overlap {
            self.assumptions.rotation_overlap = overlap;
        }
        let address = self.check()?;
        let bind = |source| SandboxError::Bind { address, source };
        let listener = TcpListener::bind(address).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let store = Arc::new(Store::open(self.state_file.as_deref())?);
        let settings = Settings {
            scheme: self.scheme,
            assumptions: self.assumptions.clone(),
            speed: self.speed,
            seed: self.seed.unwrap_or_else(|| fastrand::u64(..)),
            targets: self.targets,
        };
        let engine = Engine::start(Arc::clone(&store), settings)?;
        let account = "sandbox";
        store.add_key(Sandbox::TEST_KEY, account, Mode::Test, &engine.new_secret())?;
        store.add_key(Sandbox::LIVE_KEY, account, Mode::Live, &engine.new_secret())?;
        for (key, mode) in &self.keys {
            store.add_key(key, &Uuid::new_v4().to_string(), *mode, &engine.new_secret())?;
        }
        let failures = Arc::new(Failures::default());
        let api = Api::new(Arc::clone(&store), engine.clone(), self.assumptions, Arc::clone(&failures));
        let served = Served::start(listener, api).await?;
        Ok(Sandbox { url: format!("http://{address}"), address, served, engine, store, failures })
    }

    /// The address to listen at, if all settings can work.
    fn check(&self) -> Result<SocketAddr, SandboxError> {
        let mut mistakes = Mistakes::default();
        self.assumptions.gather(&mut mistakes);
        let address = self.address();
        match address {
            None => mistakes.push("bind", "must be an address and a port, such as \"127.0.0.1:4010\""),
            Some(address) if !address.ip().is_loopback() && !self.bind_any => mistakes.push(
                "bind",
                "must be a loopback address, such as 127.0.0.1; to be reached by others, call danger_bind_any \
                 (--danger-bind-any)",
            ),
            Some(_) => {}
        }
        if !(Sandbox::MIN_SPEED..=Sandbox::MAX_SPEED).contains(&self.speed) {
            let (least, most) = (Sandbox::MIN_SPEED, Sandbox::MAX_SPEED);
            mistakes.push("speed", format_args!("must be from {least} to {most}"));
        }
        let mut seen = vec![Sandbox::TEST_KEY, Sandbox::LIVE_KEY];
        for (key, _) in &self.keys {
            if key.is_empty() || key.len() > 128 || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                mistakes.push("api_key", "must be 1 to 128 visible ASCII characters, without spaces");
            } else if seen.contains(&key.as_str()) {
                mistakes.push("api_key", "must be another key than those that there are already");
            }
            seen.push(key);
        }
        match address {
            Some(address) if mistakes.is_empty() => Ok(address),
            _ => Err(SandboxError::Settings(mistakes)),
        }
    }

    fn address(&self) -> Option<SocketAddr> {
        let local = || {
            let port = self.bind.strip_prefix("localhost:")?.parse().ok()?;
            Some(SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port))
        };
        self.bind.parse().ok().or_else(local)
    }
}
