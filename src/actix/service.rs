//! A receiver with its handlers, mounted at a path.

use std::fmt;

use actix_service::fn_service;
use actix_web::dev::{AppService, HttpServiceFactory, ServiceRequest, ServiceResponse};

use crate::actix::intake::take_in;
use crate::actix::respond::{respond, respond_unread};
use crate::receiver::{Mode, Receiver, Record};

/// A receiver at a path; made by [`Receiver::at`].
pub struct At<H, S> {
    receiver: Receiver<H, S>,
    path: String,
}

impl<H, S> At<H, S> {
    pub(super) fn new(receiver: Receiver<H, S>, path: &str) -> Self {
        Self { receiver, path: path.to_owned() }
    }
}

impl<H: 'static, S: Mode<H>> HttpServiceFactory for At<H, S> {
    fn register(self, config: &mut AppService) {
        let resource = super::resource(config, self.path);
        let receiver = self.receiver;
        let service = fn_service(move |request: ServiceRequest| {
            let receiver = receiver.clone();
            async move { Ok::<_, actix_web::Error>(receive(&receiver, request).await) }
        });
        config.register_service(resource, None, service, None);
    }
}

async fn receive<H, S: Mode<H>>(receiver: &Receiver<H, S>, request: ServiceRequest) -> ServiceResponse {
    let record = Record::begin();
    let (request, mut payload) = request.into_parts();
    let response = match take_in(receiver, &request, &mut payload).await {
        Ok(mut intake) => {
            let disposition = record.in_span(S::work(receiver, &mut intake.verified, intake.now, &record)).await;
            let answer = receiver.end(record, &disposition);
            respond(&answer, disposition)
        }
        Err(disposition) => {
            let answer = receiver.end(record, &disposition);
            respond_unread(&answer, disposition, payload)
        }
    };
    ServiceResponse::new(request, response)
}

impl<H, S> fmt::Debug for At<H, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("At").field("path", &self.path).finish_non_exhaustive()
    }
}
