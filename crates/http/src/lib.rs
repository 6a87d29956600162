//! The HTTP API: routes, what is extracted from a request, how outcomes become answers.
//!
//! A handler extracts, calls one function of the service and maps the result. Paths and methods
//! stand on the handlers, the list of handlers in `routes.rs`; `openapi.json` comes from both. To
//! add an operation, see `docs/ADDING-AN-ENDPOINT.md`.

mod cors;
mod custom_domains;
mod error;
mod extract;
mod form_fingerprint;
mod health;
mod idempotency;
mod paths;
mod reference;
mod request_log;
mod routes;
mod sse;
mod v1;
mod writes;

pub use custom_domains::with_custom_domains;
pub use paths::serve_both_forms;
pub use reference::openapi_json;
pub use routes::router;
