//! What the tests of the edge share: a server on a real socket, handlers that do as a delivery says, and a client that
//! controls every byte.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic, missing_docs)] // each file uses its part

pub mod raw;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{ServerHandle, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, HttpResponse, HttpServer, web};
use countersign::testing::FakeClock;
use countersign::{
    DedupeStore, Delivery, Disposition, Envelope, EventType, HandlerError, Handlers, KeyId, Keyring, Message, Outcome,
    PayloadError, RawPayload, Receiver, ReceiverBuilder, Scheme, Secret, Signer, Timestamp, Unknown, Variant, Verified,
    WebhookEvent,
};
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};

pub use raw::{Client, Post, Response};

/// The secret that receivers and senders share unless a test says otherwise.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Another one that is well formed.
pub const OTHER_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
/// Where receivers are mounted.
pub const PATH: &str = "/hooks";

/// What time it is on the clocks of tests.
pub const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// Whether a receiver runs its own handlers or stands in front of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mount {
    /// `receiver.at(path)`.
    Service,
    /// `receiver.middleware()` around a route that takes `Verified<Event>`.
    Middleware,
}

pub const BOTH: [Mount; 2] = [Mount::Service, Mount::Middleware];

/// An event that tells its handler what to do.
#[derive(Debug)]
pub enum Event {
    Job(Job),
    Unknown(Unknown),
}

#[derive(Clone, Debug, Deserialize)]
pub struct Job {
    pub run: Run,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Run {
    /// Succeeds.
    Ok,
    /// Fails with an error that is worth a retry.
    Fail,
    /// The first time fails, then succeeds.
    FailOnce,
    /// Waits for a permit of the probe's gate, then succeeds.
    Gate,
    /// The first time never ends, then succeeds.
    HangOnce,
    /// Panics inside the future.
    Panic,
    /// Panics before there is a future.
    PanicAtOnce,
    /// Fails for good.
    Permanent,
    /// Panics while it is decoded.
    PanicInDecode,
}

impl WebhookEvent for Event {
    const ENVELOPE: Envelope = Envelope { tag: Some("event"), content: Some("data") };
    const VARIANTS: &'static [Variant] = &[Variant::event("Job", "job"), Variant::unknown("Unknown")];

    fn decode(event_type: &EventType, payload: RawPayload<'_>) -> Result<Option<Self>, PayloadError> {
        Ok(match event_type.as_str() {
            "job" => {
                let job: Job = payload.decode()?;
                assert_ne!(job.run, Run::PanicInDecode, "as the delivery says");
                Some(Self::Job(job))
            }
            // Stands for an enum without an arm for what it does not know.
            "nobody's" => None,
            _ => Some(Self::Unknown(Unknown::new(event_type.clone(), payload))),
        })
    }
}

/// A body that says `run`.
pub fn job(run: &str) -> String {
    format!(r#"{{"event":"job","data":{{"run":"{run}"}}}}"#)
}

/// The handlers, and what was seen of them. A clone is another handle.
#[derive(Clone, Debug)]
pub struct Probe(Arc<Seen>);

#[derive(Debug)]
struct Seen {
    runs: Mutex<HashMap<String, usize>>,
    dispositions: Mutex<Vec<Option<&'static str>>>,
    threads: Mutex<Vec<std::thread::ThreadId>>,
    started: Semaphore,
    dropped: Semaphore,
    gate: Semaphore,
}

impl Default for Probe {
    fn default() -> Self {
        Self(Arc::new(Seen {
            runs: Mutex::default(),
            dispositions: Mutex::default(),
            threads: Mutex::default(),
            started: Semaphore::new(0),
            dropped: Semaphore::new(0),
            gate: Semaphore::new(0),
        }))
    }
}

impl Probe {
    /// How often the handler began to run for this delivery id.
    pub fn runs(&self, id: &str) -> usize {
        self.0.runs.lock().unwrap().get(id).copied().unwrap_or(0)
    }

    /// How often the handler began to run at all.
    pub fn all_runs(&self) -> usize {
        self.0.runs.lock().unwrap().values().sum()
    }

    /// The outcomes that a middleware of the program's own saw in the extensions of responses; taken.
    pub fn dispositions(&self) -> Vec<Option<&'static str>> {
        std::mem::take(&mut self.0.dispositions.lock().unwrap())
    }

    /// The threads that handlers ran on.
    pub fn threads(&self) -> Vec<std::thread::ThreadId> {
        self.0.threads.lock().unwrap().clone()
    }

    /// Lets `count` gated handlers go on.
    pub fn open_gate(&self, count: usize) {
        self.0.gate.add_permits(count);
    }

    /// Waits until one more handler has started.
    pub async fn started(&self) {
        self.0.started.acquire().await.unwrap().forget();
    }

    /// The same on a thread without a runtime.
    pub fn wait_started(&self) {
        wait_for("a handler to start", || self.0.started.try_acquire().map(SemaphorePermit::forget).ok());
    }

    /// Waits until one more handler was dropped or has ended.
    pub fn wait_gone(&self) {
        wait_for("a handler to be gone", || self.0.dropped.try_acquire().map(SemaphorePermit::forget).ok());
    }

    /// Does as `job` says.
    pub fn work(&self, job: &Job, delivery: &Delivery) -> impl Future<Output = Outcome> + Send + use<> {
        let run = job.run;
        let id = delivery.id().map(ToString::to_string).unwrap_or_default();
        let before = {
            let mut runs = self.0.runs.lock().unwrap();
            let count = runs.entry(id).or_insert(0);
            *count += 1;
            *count - 1
        };
        self.0.threads.lock().unwrap().push(std::thread::current().id());
        assert_ne!(run, Run::PanicAtOnce, "as the delivery says");
        let seen = Arc::clone(&self.0);
        async move {
            let _gone = Gone(Arc::clone(&seen));
            seen.started.add_permits(1);
            match run {
                Run::Ok => Outcome::Handled,
                Run::Fail => Outcome::Retry(HandlerError::retryable("the database is away")),
                Run::FailOnce if before == 0 => Outcome::Retry(HandlerError::retryable("the database is away")),
                Run::HangOnce if before == 0 => std::future::pending().await,
                Run::FailOnce | Run::HangOnce => Outcome::Handled,
                Run::Gate => {
                    seen.gate.acquire().await.unwrap().forget();
                    Outcome::Handled
                }
                Run::Panic | Run::PanicAtOnce | Run::PanicInDecode => panic!("as the delivery says"),
                Run::Permanent => Outcome::Permanent(HandlerError::permanent("no such customer")),
            }
        }
    }
}

struct Gone(Arc<Seen>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.dropped.add_permits(1);
    }
}

impl Handlers for Probe {
    type Event = Event;

    fn handle(&self, event: Event, delivery: &Delivery) -> impl Future<Output = Outcome> + Send {
        let work = match event {
            Event::Job(job) => Some(self.work(&job, delivery)),
            Event::Unknown(_) => None,
        };
        async move {
            match work {
                Some(work) => work.await,
                None => Outcome::Unhandled,
            }
        }
    }
}

/// The user's own route behind the middleware.
pub async fn route(event: Verified<Event>, probe: web::Data<Probe>) -> HttpResponse {
    let delivery = event.delivery().clone();
    match event.into_inner() {
        Event::Job(job) => match probe.work(&job, &delivery).await {
            Outcome::Retry(_) => HttpResponse::InternalServerError().finish(),
            _ => HttpResponse::Ok().finish(),
        },
        Event::Unknown(_) => HttpResponse::Ok().finish(),
    }
}

/// The user's own middleware around everything.
async fn observe(
    probe: web::Data<Probe>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let response = next.call(request).await?;
    let outcome = response.response().extensions().get::<Disposition>().map(Disposition::outcome);
    probe.0.dispositions.lock().unwrap().push(outcome);
    Ok(response)
}

pub fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

pub fn keyring() -> Keyring {
    Keyring::single(secret(SECRET))
}

pub fn key(id: &str, text: &str) -> countersign::Key {
    countersign::Key::new(KeyId::new(id).unwrap(), secret(text))
}

pub fn scheme() -> Scheme {
    Scheme::standard_webhooks()
}

/// A receiver at [`NOW`] whose handlers are `probe`.
pub fn builder(probe: &Probe) -> ReceiverBuilder<Probe> {
    Receiver::builder(scheme(), keyring()).handlers(probe.clone()).clock(FakeClock::at(NOW))
}

/// A signed delivery, ready to be sent.
pub fn signed(id: &str, body: impl Into<Vec<u8>>) -> Post {
    signed_with(&scheme(), &keyring(), id, NOW, body)
}

pub fn signed_with(scheme: &Scheme, keyring: &Keyring, id: &str, at: Timestamp, body: impl Into<Vec<u8>>) -> Post {
    let body = body.into();
    let signer = Signer::new(scheme.clone(), keyring.clone()).unwrap();
    let message = Message::new(&body, at).id(id).event_type("job");
    let headers = signer.sign(&message).unwrap();
    Post::new(PATH, headers, body)
}

/// A server that runs on threads of its own until it is dropped.
pub struct Server {
    pub addr: SocketAddr,
    handle: ServerHandle,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// How a server is set up; [`Server::start`] takes the defaults.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub workers: usize,
    pub mount: Mount,
    /// `countersign::actix::harden`.
    pub harden: bool,
    /// The time for the head of a first request; actix-web's own is 5 s.
    pub head_timeout: Duration,
    pub path: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self { workers: 1, mount: Mount::Service, harden: false, head_timeout: Duration::from_secs(5), path: PATH }
    }
}

impl Server {
    /// Serves `receiver` with one worker.
    pub fn start<S: DedupeStore>(mount: Mount, receiver: &Receiver<Probe, S>, probe: &Probe) -> Self {
        let setup = Setup { mount, ..Setup::default() };
        Self::with(setup, receiver, probe)
    }

    pub fn with<S: DedupeStore>(setup: Setup, receiver: &Receiver<Probe, S>, probe: &Probe) -> Self {
        let receiver = receiver.clone();
        Self::configured(setup, probe, move |config| {
            match setup.mount {
                Mount::Service => config.service(receiver.at(setup.path)),
                Mount::Middleware => {
                    config.service(web::resource(setup.path).wrap(receiver.middleware()).route(web::post().to(route)))
                }
            };
        })
    }

    /// Serves what `configure` mounts.
    pub fn configured(
        setup: Setup,
        probe: &Probe,
        configure: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    ) -> Self {
        let probe = web::Data::new(probe.clone());
        let app = move || App::new().app_data(probe.clone()).wrap(from_fn(observe)).configure(configure.clone());
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let server = HttpServer::new(app)
                    .workers(setup.workers)
                    .disable_signals()
                    .client_request_timeout(setup.head_timeout);
                let server = if setup.harden { countersign::actix::harden(server) } else { server };
                let server = server.bind(("127.0.0.1", 0)).unwrap();
                let addr = server.addrs()[0];
                let server = server.run();
                tell.send((addr, server.handle())).unwrap();
                server.await.unwrap();
            });
        });
        let (addr, handle) = told.recv().unwrap();
        Self { addr, handle, thread: Some(thread) }
    }

    pub fn client(&self) -> Client {
        Client::connect(self.addr)
    }

    /// One exchange on a connection of its own.
    pub fn post(&self, post: &Post) -> Response {
        let mut client = self.client();
        client.send(&post.to_bytes());
        client.receive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The command is sent when it is called; the future only waits for its end.
        drop(self.handle.stop(false));
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

/// Ends the other threads of a test even when an assertion of this one fails.
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Asks until there is an answer. A test that waits in vain fails after half a minute.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(std::time::Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
