//! Which operations there are and the OpenAPI document, from the same list.

use actix_web::App;
use actix_web::dev::{ServiceFactory, ServiceRequest};
use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::Type;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, ContentBuilder, ObjectBuilder, OpenApi, Ref, RefOr, Required, ResponseBuilder};
use utoipa_actix_web::service_config::ServiceConfig;
use utoipa_actix_web::{AppExt as _, scope};

use crate::sandbox::api::{config, control, deliveries, webhooks};

/// The document's own words.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "KYC Genie webhooks, as countersign's sandbox plays them",
        description = "The webhook operations of KYC Genie's management API in v1 and v2, as far as they are published, \
                       and under /sandbox/ the sandbox's own control API. What is not published is an assumption.",
        license(name = "MIT OR Apache-2.0")
    ),
    servers((url = "http://127.0.0.1:4010", description = "`countersign sandbox`")),
    tags(
        (name = "webhooks", description = "The provider's webhook operations"),
        (name = "sandbox", description = "The sandbox's own control API: no part of the provider's")
    )
)]
struct Document;

/// `app` with every operation, and the bare document of them.
pub(super) fn mount<T>(app: App<T>) -> (App<T>, OpenApi)
where
    T: ServiceFactory<ServiceRequest, Config = (), Error = actix_web::Error, InitError = ()>,
{
    app.into_utoipa_app()
        .openapi(Document::openapi())
        .service(scope("/api/v1").configure(|services| {
            services.service(webhooks::list_v1).service(deliveries::logs_v1);
            both(services);
        }))
        .service(scope("/api/v2").configure(|services| {
            services.service(webhooks::list_v2).service(deliveries::logs_v2);
            services.service(config::get).service(config::update).service(config::delete);
            both(services);
        }))
        .configure(control::mount)
        .split_for_parts()
}

/// What is the same in both versions. Fixed paths stand above, so that they are found before `{webhook_id}`.
fn both(services: &mut ServiceConfig<'_>) {
    services
        .service(webhooks::create)
        .service(deliveries::test)
        .service(deliveries::retry)
        .service(webhooks::get)
        .service(webhooks::update)
        .service(webhooks::delete)
        .service(webhooks::rotate_secret);
}

/// The whole document.
pub(super) fn document() -> OpenApi {
    let (_, mut document) = mount(App::new());
    for (path, item) in &mut document.paths.paths {
        let version = path.strip_prefix("/api/").and_then(|path| path.split('/').next()).map(ToOwned::to_owned);
        for (operation, changes) in operations(item) {
            if let (Some(version), Some(id)) = (&version, &operation.operation_id) {
                operation.operation_id = Some(format!("{id}_{version}"));
                if changes {
                    operation.parameters.get_or_insert_default().push(RefOr::T(idempotency_key()));
                }
            }
            errors_of_all(operation, version.is_some());
        }
    }
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API key")).build();
    let components = document.components.get_or_insert_with(Components::new);
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    document
}

/// The document as it is served and committed.
pub(super) fn text(document: &OpenApi) -> String {
    // Texts, numbers and flags only: there is nothing in it that JSON cannot hold.
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// Each operation, and whether it changes anything.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&mut Operation, bool)> {
    let changing = [&mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
    let changing = changing.into_iter().flatten().map(|operation| (operation, true));
    item.get.iter_mut().map(|operation| (operation, false)).chain(changing)
}

fn idempotency_key() -> Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255)).build();
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("The same request with the same key gets the same answer and is not done twice"))
        .schema(Some(text))
        .build()
}

/// What every operation may answer.
fn errors_of_all(operation: &mut Operation, of_provider: bool) {
    let mut add = |status: &str, description: &str| {
        let body = ContentBuilder::new().schema(Some(RefOr::Ref(Ref::from_schema_name("ErrorBody")))).build();
        let response = ResponseBuilder::new().description(description).content("application/json", body).build();
        operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response));
    };
    if of_provider {
        add("401", "No valid API key");
        add("403", "Not permitted; the sandbox answers so only on demand");
        add("429", "Too many requests");
        add("500", "The server failed");
    }
    add("default", "Another error");
}
