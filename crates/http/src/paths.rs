//! Every path exists under `/api/` and `/api/v1/`, with and without the slash at its end, and a
//! redirect is never the answer.

use axum::Router;
use axum::extract::Request;
use http::Uri;
use tower::Layer;
use tower::util::MapRequestLayer;

/// The path as the client wrote it.
#[derive(Clone, Debug)]
pub(crate) struct AskedPath(pub(crate) String);

/// Wraps the router so that each form of a path reaches the same handler.
pub fn serve_both_forms(
    router: Router,
) -> impl tower::Service<Request, Response = axum::response::Response, Error = std::convert::Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    MapRequestLayer::new(canonical).layer(router)
}

fn canonical(mut request: Request) -> Request {
    let asked = request.uri().path().to_owned();
    if let Some(path) = canonical_path(&asked) {
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        if let Ok(uri) = format!("{path}{query}").parse::<Uri>() {
            *request.uri_mut() = uri;
        }
    }
    request.extensions_mut().insert(AskedPath(asked));
    request
}

/// The form that the routes are written in, if the path is one of the API's.
fn canonical_path(path: &str) -> Option<String> {
    let rest = path.strip_prefix("/api/v1/").or_else(|| path.strip_prefix("/api/"))?;
    let slash = if rest.is_empty() || rest.ends_with('/') { "" } else { "/" };
    Some(format!("/api/v1/{rest}{slash}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_forms_are_one() {
        for form in ["/api/chatbots", "/api/chatbots/", "/api/v1/chatbots", "/api/v1/chatbots/"] {
            assert_eq!(canonical_path(form).as_deref(), Some("/api/v1/chatbots/"), "{form}");
        }
        assert_eq!(canonical_path("/healthz"), None);
        assert_eq!(canonical_path("/apiary"), None);
    }
}
