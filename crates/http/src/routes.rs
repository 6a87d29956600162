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
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

use crate::error::{ApiError, ErrorBody};
use crate::health::Readiness;
use crate::reference::ApiKeyScheme;
use crate::request_log::{Meters, log_request};
use crate::v1::{
    api_keys, attachments, broadcast, chatbot_knowledge, chatbots, completions, contact_conversations,
    contact_credentials, contacts, conversations, events, faqs, files, groups, inboxes, knowledge_bases, labels, media,
    messages, models, organizations, parsers, providers, sent_messages, text_nodes, tools, uploads, visitor_sessions,
    voice, web_chats, webhooks,
};
use crate::writes::{Successes, Writes};
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

/// A table of operations, as it is read line by line.
///
/// The description of all operations takes tens of megabytes while it is made. A server that runs
/// does not need it: it answers the committed document. So the description of each line is dropped
/// again unless it is asked for.
struct Table {
    router: Router<App>,
    successes: Successes,
    description: Option<OpenApiRouter<App>>,
}

impl Table {
    /// To be served.
    fn served() -> Self {
        Self { router: Router::new(), successes: Successes::default(), description: None }
    }

    /// To be described.
    fn described() -> Self {
        let description = OpenApiRouter::with_openapi(Document::openapi());
        Self { description: Some(description), ..Self::served() }
    }

    fn routes(mut self, (schemas, paths, handlers): UtoipaMethodRouter<App>) -> Self {
        for (path, item) in &paths.paths {
            self.router = self.router.route(path, handlers.clone());
            self.successes.note(path, item);
        }
        self.description = self.description.map(|described| described.routes((schemas, paths, handlers)));
        self
    }
}

/// The operations of the API that take JSON.
fn operations(table: Table) -> Table {
    let table = table
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
        .routes(routes!(events::of_conversation))
        .routes(routes!(events::of_inbox))
        .routes(routes!(events::typing))
        .routes(routes!(conversations::update_auto_reply))
        .routes(routes!(conversations::update_enable_group_mention))
        .routes(routes!(sent_messages::list, sent_messages::create))
        .routes(routes!(sent_messages::create_outgoing))
        .routes(routes!(sent_messages::get, sent_messages::update))
        .routes(routes!(sent_messages::set_feedback, sent_messages::clear_feedback))
        .routes(routes!(messages::stream))
        .routes(routes!(messages::cancel))
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
        .routes(routes!(voice::token));
    organization_operations(knowledge_operations(table))
}

/// The operations on knowledge: bases, files, FAQs, labels, and those of an assistant.
fn knowledge_operations(table: Table) -> Table {
    table
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
        .routes(routes!(chatbot_knowledge::add_faq))
        .routes(routes!(chatbot_knowledge::list_faqs, chatbot_knowledge::create_faq))
        .routes(routes!(
            chatbot_knowledge::get_faq,
            chatbot_knowledge::replace_faq,
            chatbot_knowledge::update_faq,
            chatbot_knowledge::delete_faq
        ))
        .routes(routes!(chatbot_knowledge::delete_faqs))
        .routes(routes!(chatbot_knowledge::list_files, chatbot_knowledge::create_files))
        .routes(routes!(
            chatbot_knowledge::get_file,
            chatbot_knowledge::replace_file,
            chatbot_knowledge::update_file,
            chatbot_knowledge::delete_file
        ))
        .routes(routes!(chatbot_knowledge::latest_failed_reason))
        .routes(routes!(chatbot_knowledge::delete_files))
        .routes(routes!(chatbot_knowledge::list_knowledge_bases_files))
        .routes(routes!(chatbot_knowledge::search))
        .routes(routes!(parsers::list))
        .routes(routes!(parsers::supported_file_types))
        .routes(routes!(parsers::get))
        .routes(routes!(parsers::allowed_file_types))
}

/// The operations on the organisation, its people, groups and keys.
fn organization_operations(table: Table) -> Table {
    table
        .routes(routes!(organizations::list, organizations::create))
        .routes(routes!(organizations::get, organizations::replace, organizations::update))
        .routes(routes!(organizations::members, organizations::add_member))
        .routes(routes!(organizations::member, organizations::update_member, organizations::remove_member))
        .routes(routes!(organizations::users))
        .routes(routes!(
            organizations::current_user,
            organizations::replace_current_user,
            organizations::update_current_user
        ))
        .routes(routes!(organizations::user, organizations::replace_user, organizations::update_user))
        .routes(routes!(organizations::permissions))
        .routes(routes!(groups::list, groups::create))
        .routes(routes!(groups::get, groups::replace, groups::update, groups::delete))
        .routes(routes!(groups::list_members, groups::add_member))
        .routes(routes!(groups::add_members))
        .routes(routes!(groups::get_member, groups::remove_member))
        .routes(routes!(groups::list_chatbots, groups::add_chatbot))
        .routes(routes!(groups::add_chatbots))
        .routes(routes!(groups::remove_chatbot))
        .routes(routes!(api_keys::list, api_keys::create))
        .routes(routes!(api_keys::get, api_keys::update, api_keys::revoke))
        .routes(routes!(api_keys::audit_log))
}

/// The operations that take a file in a form as well as JSON.
fn attachment_operations(table: Table) -> Table {
    table
        .routes(routes!(attachments::list, attachments::create))
        .routes(routes!(attachments::get, attachments::delete))
        .routes(routes!(attachments::upload))
        .routes(routes!(attachments::create_in_conversation))
}

/// The description of all operations.
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    let table = attachment_operations(operations(Table::described()));
    table.description.unwrap_or_default().into_openapi()
}

/// Everything that is served.
pub fn router(app: App) -> Router {
    let json = operations(Table::served());
    // Forms have a limit of their own, by the largest upload.
    let forms = attachment_operations(Table { router: Router::new(), ..json });
    let operations = json.router.layer(DefaultBodyLimit::max(MAX_JSON_BYTES)).merge(forms.router);
    let writes = Writes::new(app.clone(), operations.clone().with_state(app.clone()), forms.successes);
    let readiness = Readiness::default();
    let served = operations
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
        .with_state(app.clone());
    crate::custom_domains::with_custom_domains(app, served)
}

async fn not_found() -> ApiError {
    ApiError(Error::NotFound("path"))
}

async fn method_not_allowed(method: http::Method) -> (StatusCode, axum::Json<serde_json::Value>) {
    let detail = format!("Method \"{method}\" not allowed.");
    (StatusCode::METHOD_NOT_ALLOWED, axum::Json(serde_json::json!({"detail": detail, "code": "method_not_allowed"})))
}
