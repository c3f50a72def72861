//! The server, on threads of its own.

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::rt::System;
use actix_web::{App, HttpServer, web};
use tokio::sync::oneshot;

use crate::sandbox::SandboxError;
use crate::sandbox::api::{Api, gate, openapi};

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long requests that are being worked on may take to end when the server stops, in seconds.
const GRACE: u64 = 1;

/// Few threads: a sandbox shares its machine with what is tested.
const WORKERS: usize = 2;

/// A server that runs until it is stopped or dropped.
pub(in crate::sandbox) struct Served {
    handle: ServerHandle,
    ended: Option<oneshot::Receiver<()>>,
}

impl Served {
    /// Serves `api` at `listener`.
    pub(in crate::sandbox) async fn start(listener: TcpListener, api: Api) -> Result<Self, SandboxError> {
        let (tell, told) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        thread::Builder::new()
            .name("sandbox-api".to_owned())
            .spawn(move || {
                System::new().block_on(async {
                    match server(listener, api) {
                        Ok(server) => {
                            // Nobody waits for a server whose start was abandoned: it ends with its handle.
                            if tell.send(Ok(server.handle())).is_ok()
                                && let Err(error) = server.await
                            {
                                tracing::error!(%error, "the sandbox's server failed");
                            }
                        }
                        Err(error) => drop(tell.send(Err(error))),
                    }
                });
                drop(end);
            })
            .map_err(SandboxError::Thread)?;
        let handle = told.await.map_err(|_| SandboxError::Stopped)?.map_err(SandboxError::Thread)?;
        Ok(Self { handle, ended: Some(ended) })
    }

    /// Lets requests that are being worked on end, and waits for the end of the server.
    pub(in crate::sandbox) async fn stop(mut self) {
        self.handle.stop(true).await;
        if let Some(ended) = self.ended.take() {
            let _ = ended.await;
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // The order is given at once; nobody waits until it is done.
        drop(self.handle.stop(false));
    }
}

fn server(listener: TcpListener, api: Api) -> std::io::Result<Server> {
    let api = web::Data::new(api);
    let server = HttpServer::new(move || {
        let (app, _) = openapi::mount(App::new().app_data(api.clone()));
        app.wrap(from_fn(gate::gate))
    });
    Ok(server
        .workers(WORKERS)
        .client_request_timeout(HEAD_TIMEOUT)
        // Who closes the connection takes back what is being worked on: a trigger with a rate ends.
        .h1_allow_half_closed(false)
        .shutdown_timeout(GRACE)
        .disable_signals()
        .listen(listener)?
        .run())
}
