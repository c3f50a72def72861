//! The processes, and the provider's subscription.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use countersign::sandbox::Sandbox;

use crate::common::Failure;

/// Where the inbox is.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) schema: String,
}

/// What this process is.
pub(crate) enum Role {
    Receiver(Place, u16),
    Worker(Place),
    /// The one that somebody has started, with the URL of a PostgreSQL.
    Stage(Option<String>),
}

const URL: &str = "COUNTERSIGN_POSTGRES";
const SCHEMA: &str = "COUNTERSIGN_FLEET_SCHEMA";
const PORT: &str = "COUNTERSIGN_FLEET_PORT";

pub(crate) fn role() -> Result<Role, Failure> {
    let url = std::env::var(URL).ok();
    let place = || Ok::<_, Failure>(Place { url: std::env::var(URL)?, schema: std::env::var(SCHEMA)? });
    match std::env::args().nth(1).as_deref() {
        Some("receiver") => Ok(Role::Receiver(place()?, std::env::var(PORT)?.parse()?)),
        Some("worker") => Ok(Role::Worker(place()?)),
        given => Ok(Role::Stage(given.map(str::to_owned).or(url))),
    }
}

pub(crate) struct Fleet {
    pub(crate) receivers: Vec<Process>,
    pub(crate) workers: Vec<Process>,
}

impl Fleet {
    pub(crate) fn start(place: &Place, secret: &str, ports: &[u16], workers: usize) -> Result<Self, Failure> {
        let receiver = |port: &u16| {
            let port = port.to_string();
            Process::new("receiver", place, &[(PORT, port.as_str()), ("KYCGENIE_WEBHOOK_SECRET", secret)])
        };
        let receivers = ports.iter().map(receiver).collect::<Result<_, _>>()?;
        let workers = (0..workers).map(|_| Process::new("worker", place, &[])).collect::<Result<_, _>>()?;
        Ok(Self { receivers, workers })
    }
}

/// This program again, in another role. Dropping it kills it.
pub(crate) struct Process {
    command: Command,
    child: Option<Child>,
}

impl Process {
    fn new(role: &str, place: &Place, settings: &[(&str, &str)]) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(role).env(URL, &place.url).env(SCHEMA, &place.schema).envs(settings.iter().copied());
        command.stdout(Stdio::piped());
        let mut process = Self { command, child: None };
        process.start()?;
        Ok(process)
    }

    /// Starts it, and waits until it says that it is ready.
    pub(crate) fn start(&mut self) -> Result<(), Failure> {
        let mut child = self.command.spawn()?;
        let stdout = child.stdout.take().ok_or("no output")?;
        self.child = Some(child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line == "ready\n" { Ok(()) } else { Err("a process of the fleet has not come up".into()) }
    }

    /// `kill -9`: nothing is told, nothing flushed.
    pub(crate) fn kill(&mut self) -> Result<(), Failure> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks it to end, waits until it has, and starts it again.
    pub(crate) async fn restart_gracefully(&mut self) -> Result<(), Failure> {
        let mut child = self.child.take().ok_or("it does not run")?;
        Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?;
        let asked = Instant::now();
        let status = loop {
            match child.try_wait()? {
                Some(status) => break status,
                None if asked.elapsed() > crate::PATIENCE => {
                    child.kill()?;
                    break child.wait()?;
                }
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        if !status.success() {
            return Err(format!("it did not end by itself: {status}").into());
        }
        self.start()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Has the provider send everything to `url`, and gives the secret that it signs with.
pub(crate) fn subscribe(sandbox: &Sandbox, url: &str) -> Result<String, Failure> {
    let reply = ureq::post(format!("{}/api/v2/webhooks/", sandbox.url()))
        .header("authorization", format!("Bearer {}", sandbox.test_key()))
        .header("content-type", "application/json")
        .send(serde_json::json!({ "event_type": "all", "webhook_url": url }).to_string())?
        .body_mut()
        .read_to_string()?;
    let webhook: serde_json::Value = serde_json::from_str(&reply)?;
    Ok(webhook["secret_key"].as_str().ok_or("the provider shows no secret")?.to_owned())
}
