//! Custom domains: the page of a web chat at `/` of a domain that was proved to be its owner's.
//!
//! The host of a request decides nothing else. It is in no link and opens nothing: the page is one
//! that everybody can see under the server's own name.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use http::{Method, Uri, header};
use parlance_service::{App, domains};

/// Wraps routes so that `/` of a verified domain is `/web-chats/{id}` of its web chat.
pub fn with_custom_domains(app: App, routes: Router) -> Router {
    // Around them, not in them: the path has to be another one before a route is chosen.
    Router::new().fallback_service(routes).layer(middleware::from_fn_with_state(app, show_page))
}

async fn show_page(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if reads && request.uri().path() == "/" {
        let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let host = named.or_else(|| request.uri().host()).unwrap_or_default().to_owned();
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        match Box::pin(page_of(&app, &host, &query)).await {
            Ok(Some(page)) => *request.uri_mut() = page,
            Ok(None) => {}
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a custom domain could not be looked up");
            }
        }
    }
    next.run(request).await
}

async fn page_of(app: &App, host: &str, query: &str) -> parlance_domain::Result<Option<Uri>> {
    let Some(web_chat) = domains::web_chat_at(app, host).await? else { return Ok(None) };
    Ok(format!("/web-chats/{web_chat}{query}").parse().ok())
}
