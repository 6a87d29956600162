//! The table of routes. Methods and paths stand on the handlers.

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware;
use axum::routing::{get, post};
use http::{HeaderValue, StatusCode, header};
use parlance_domain::Error;
use parlance_service::App;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::{ApiError, ErrorBody};
use crate::health::Readiness;
use crate::reference::ApiKeyScheme;
use crate::request_log::{Meters, log_request};
use crate::v1::{
    attachments, broadcast, chatbots, completions, contact_conversations, contact_credentials, contacts, conversations,
    faqs, files, inboxes, knowledge_bases, labels, media, messages, models, parsers, providers, sent_messages,
    text_nodes, tools, uploads, visitor_sessions, web_chats, webhooks,
};
use crate::writes::Writes;
use crate::{cors, health, reference, writes};

/// Bytes of a JSON body.
pub(crate) const MAX_JSON_BYTES: usize = 2 << 20;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Parlance",
        description = "Assistants that answer from an organisation's own documents. Every path exists under /api/ and \
                       /api/v1/, with and without its last slash; request keys may be camelCase or snake_case.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
        contact()
    ),
    servers((url = "/", description = "This server")),
    components(schemas(ErrorBody)),
    modifiers(&ApiKeyScheme),
    security(("apiKey" = []))
)]
struct Document;

/// The operations of the API with their description.
pub(crate) fn api() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(chatbots::list, chatbots::create))
        .routes(routes!(chatbots::get, chatbots::replace, chatbots::update, chatbots::delete))
        .routes(routes!(chatbots::duplicate))
        .routes(routes!(chatbots::enable_evaluation))
        .routes(routes!(webhooks::rotate_secret))
        .routes(routes!(webhooks::records))
        .routes(routes!(webhooks::redeliver))
        .routes(routes!(completions::create))
        .routes(routes!(conversations::list, conversations::create))
        .routes(routes!(conversations::get))
        .routes(routes!(conversations::read))
        .routes(routes!(conversations::update_auto_reply))
        .routes(routes!(conversations::update_enable_group_mention))
        .routes(routes!(sent_messages::list, sent_messages::create))
        .routes(routes!(sent_messages::create_outgoing))
        .routes(routes!(sent_messages::get, sent_messages::update))
        .routes(routes!(sent_messages::set_feedback, sent_messages::clear_feedback))
        .routes(routes!(messages::stream))
        .routes(routes!(messages::cancel))
        .routes(routes!(knowledge_bases::list, knowledge_bases::create))
        .routes(routes!(
            knowledge_bases::get,
            knowledge_bases::replace,
            knowledge_bases::update,
            knowledge_bases::delete
        ))
        .routes(routes!(knowledge_bases::search_by_get, knowledge_bases::search_by_post))
        .routes(routes!(files::list, files::create))
        .routes(routes!(files::get, files::replace, files::update, files::delete))
        .routes(routes!(files::update_metadata, files::post_metadata))
        .routes(routes!(files::batch_delete))
        .routes(routes!(files::batch_reparse))
        .routes(routes!(labels::list, labels::create))
        .routes(routes!(labels::get, labels::replace, labels::update, labels::delete))
        .routes(routes!(faqs::list, faqs::create))
        .routes(routes!(faqs::get, faqs::replace, faqs::update, faqs::delete))
        .routes(routes!(faqs::update_metadata, faqs::post_metadata))
        .routes(routes!(faqs::batch_delete))
        .routes(routes!(text_nodes::list))
        .routes(routes!(parsers::list))
        .routes(routes!(parsers::supported_file_types))
        .routes(routes!(parsers::get))
        .routes(routes!(parsers::allowed_file_types))
        .routes(routes!(uploads::presign))
        .routes(routes!(models::large_language_models))
        .routes(routes!(models::embedding_models))
        .routes(routes!(models::reranker_models))
        .routes(routes!(providers::list, providers::create))
        .routes(routes!(providers::get, providers::update, providers::delete))
        .routes(routes!(inboxes::list, inboxes::create))
        .routes(routes!(inboxes::get, inboxes::replace, inboxes::update, inboxes::delete))
        .routes(routes!(contacts::list, contacts::create))
        .routes(routes!(contacts::get, contacts::replace, contacts::update, contacts::delete))
        .routes(routes!(broadcast::send))
        .routes(routes!(contact_conversations::list))
        .routes(routes!(contact_conversations::latest))
        .routes(routes!(contact_credentials::set_up))
        .routes(routes!(tools::list, tools::create))
        .routes(routes!(tools::get, tools::replace, tools::update, tools::delete))
        .routes(routes!(web_chats::list, web_chats::create))
        .routes(routes!(visitor_sessions::create))
        .routes(routes!(visitor_sessions::rotate_identity_secret))
        .routes(routes!(completions::create_in_web_chat))
        .routes(routes!(web_chats::get, web_chats::replace, web_chats::update, web_chats::delete))
}

/// The operations that take a file in a form as well as JSON.
fn attachment_routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(attachments::list, attachments::create))
        .routes(routes!(attachments::get, attachments::delete))
        .routes(routes!(attachments::upload))
        .routes(routes!(attachments::create_in_conversation))
}

/// The description of all operations.
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    api().merge(attachment_routes()).into_openapi()
}

/// Everything that is served.
pub fn router(app: App) -> Router {
    let (operations, _) = api().split_for_parts();
    let json = operations.layer(DefaultBodyLimit::max(MAX_JSON_BYTES));
    // Forms have a limit of their own, by the largest upload.
    let (attachments, _) = attachment_routes().split_for_parts();
    let operations = json.merge(attachments);
    let writes = Writes::new(app.clone(), operations.clone().with_state(app.clone()), &openapi());
    let readiness = Readiness::default();
    operations
        .layer(middleware::from_fn_with_state(writes, writes::around))
        .route("/uploads/", post(uploads::receive))
        .route("/media/{*path}", get(media::get))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(async move |State(app): State<App>| readiness.verdict(&app).await))
        .route("/openapi.json", get(reference::document))
        .route("/docs", get(reference::page))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(app.clone(), cors::let_pages_in))
        .layer(SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .layer(SetResponseHeaderLayer::if_not_present(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .layer(CatchPanicLayer::custom(|_panic: Box<dyn std::any::Any + Send>| {
            axum::response::IntoResponse::into_response(ApiError(Error::bug("a handler panicked")))
        }))
        .layer(middleware::from_fn_with_state(Meters::default(), log_request))
        .with_state(app)
}

async fn not_found() -> ApiError {
    ApiError(Error::NotFound("path"))
}

async fn method_not_allowed(method: http::Method) -> (StatusCode, axum::Json<serde_json::Value>) {
    let detail = format!("Method \"{method}\" not allowed.");
    (StatusCode::METHOD_NOT_ALLOWED, axum::Json(serde_json::json!({"detail": detail, "code": "method_not_allowed"})))
}
