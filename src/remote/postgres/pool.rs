//! A pool whose every wait is bounded, here and at the server.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio::runtime::Handle;
use tokio_postgres::{Config, Error};

use super::connect::AtHome;
use crate::remote::UNACKNOWLEDGED;

/// Where the server is, or the way there.
pub(crate) enum Server {
    Ours(Result<Box<Config>, ()>),
    Theirs(Pool),
}

/// How long to wait: for a connection and for an answer.
#[derive(Clone, Copy)]
pub(crate) struct Timeouts {
    /// For a connection of the pool; for ever unless set.
    pub(crate) turn: Option<Duration>,
    /// To connect, and until the server ends a statement by itself where `statements` says so.
    pub(crate) answer: Duration,
    /// Whether the server ends what takes longer.
    pub(crate) statements: bool,
}

/// What a pool is made of.
pub(crate) struct Pooled<'a> {
    pub(crate) config: &'a Config,
    /// The runtime that its connections live on.
    pub(crate) home: Handle,
    pub(crate) connections: usize,
    pub(crate) timeouts: Timeouts,
    /// Settings of each session, as `name=value`.
    pub(crate) settings: &'a [&'a str],
    /// Whether what a session was set to by whoever had it is reset before the next one has it.
    pub(crate) clean: bool,
}

impl Server {
    pub(crate) fn at(url: &str) -> Self {
        // What is wrong with it is not told: it may hold a password.
        Self::Ours(url.parse().map(Box::new).map_err(|_: Error| ()))
    }

    pub(crate) fn is_unreadable(&self) -> bool {
        matches!(self, Self::Ours(Err(())))
    }
}

impl Pooled<'_> {
    pub(crate) fn build(self) -> Result<Pool, deadpool_postgres::BuildError> {
        let Timeouts { turn, answer, .. } = self.timeouts;
        let config = self.timeouts.harden(self.config, self.settings);
        let recycling_method = if self.clean { RecyclingMethod::Clean } else { RecyclingMethod::Fast };
        let manager = Manager::from_connect(config, AtHome::new(self.home), ManagerConfig { recycling_method });
        Pool::builder(manager)
            .max_size(self.connections)
            .runtime(Runtime::Tokio1)
            .wait_timeout(turn)
            .create_timeout(Some(answer))
            .recycle_timeout(Some(answer))
            .build()
    }
}

impl Timeouts {
    /// What the program has set stays; what it has not is set so that a server that died without a word is noticed.
    /// `settings` are those of each session, as `name=value`.
    pub(crate) fn harden(self, config: &Config, settings: &[&str]) -> Config {
        let mut config = config.clone();
        if config.get_application_name().is_none() {
            config.application_name("countersign");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(self.answer);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(UNACKNOWLEDGED);
        }
        let mut options = config.get_options().unwrap_or_default().to_owned();
        if self.statements && !options.contains("statement_timeout") {
            // What is given up here ends there as well.
            options.push_str(&format!(" -c statement_timeout={}", self.answer.as_millis()));
        }
        for setting in settings {
            options.push_str(&format!(" -c {setting}"));
        }
        if !options.is_empty() {
            config.options(options);
        }
        config
    }
}
