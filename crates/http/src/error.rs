//! Outcomes as answers: the only place that knows status codes.
//!
//! Bodies follow the contract: `{"detail": ..., "code": ...}`, or for wrong fields an object with
//! the field names and lists of messages. Bodies of 5xx are constant; the error itself goes into
//! the response's extensions and is logged once, with the request.

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use parlance_domain::{Error, FieldErrors};
use serde_json::{Map, Value, json};

/// An outcome on its way to the client.
#[derive(Debug)]
pub(crate) struct ApiError(pub(crate) Error);

/// What a handler gives.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

/// The error behind a 5xx, for the log.
#[derive(Clone, Debug)]
pub(crate) struct LoggedError(pub(crate) Arc<Error>);

/// Without numbers, because visitors of chat pages read it too.
const QUOTA_EXCEEDED: &str = "The organisation stores as many bytes of files as it may. Delete files, knowledge bases \
                              or attachments that are not needed any more, or have the operator raise \
                              LIMITS__ORGANISATION_UPLOAD_BYTES.";

/// Status, code and text of an outcome. Field errors have a form of their own.
fn describe(error: &Error) -> (StatusCode, &'static str, String) {
    match error {
        Error::NotFound("page") => (StatusCode::NOT_FOUND, "not_found", "Invalid page.".to_owned()),
        Error::NotFound("cursor") => (StatusCode::NOT_FOUND, "not_found", "Invalid cursor.".to_owned()),
        Error::NotFound(_) => (StatusCode::NOT_FOUND, "not_found", "Not found.".to_owned()),
        Error::Unauthenticated(text) => (StatusCode::UNAUTHORIZED, "not_authenticated", (*text).to_owned()),
        Error::Forbidden(permission) => (
            StatusCode::FORBIDDEN,
            "permission_denied",
            format!("You do not have permission to perform this action ({permission})."),
        ),
        Error::Refused(text) => (StatusCode::FORBIDDEN, "permission_denied", (*text).to_owned()),
        Error::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid", String::new()),
        Error::BadRequest(text) => (StatusCode::BAD_REQUEST, "bad_request", text.clone()),
        Error::UnsupportedMediaType(text) => {
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", text.clone())
        }
        Error::Conflict(text) => (StatusCode::CONFLICT, "conflict", text.clone()),
        Error::TakenOver => (StatusCode::CONFLICT, "taken_over", error.to_string()),
        Error::Unprocessable(text) => (StatusCode::UNPROCESSABLE_ENTITY, "unprocessable", text.clone()),
        Error::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("{error}.")),
        Error::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, "throttled", format!("{error}.")),
        Error::Unavailable(text) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", text.clone()),
        Error::OutOfSpace(text) => (StatusCode::INSUFFICIENT_STORAGE, "out_of_space", text.clone()),
        Error::QuotaExceeded { .. } => (StatusCode::INSUFFICIENT_STORAGE, "quota_exceeded", QUOTA_EXCEEDED.to_owned()),
        Error::Internal { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal server error.".to_owned()),
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code, detail) = describe(&self.0);
        let body = match &self.0 {
            Error::Invalid(fields) => field_body(fields),
            _ => json!({"detail": detail, "code": code}),
        };
        let mut response = (status, Json(body)).into_response();
        if let Error::RateLimited { retry_after_seconds } = &self.0 {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*retry_after_seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Api-Key"));
        }
        // A full quota is an organisation's matter and no fault of the server.
        if status.is_server_error() && !matches!(self.0, Error::QuotaExceeded { .. }) {
            response.extensions_mut().insert(LoggedError(Arc::new(self.0)));
        }
        response
    }
}

/// Empty places of lists in one body of field errors. Positions come from the client.
const MAX_PADDING: usize = 1000;

/// Field errors as nested objects: `message.attachments.1.id` becomes an object in a list whose
/// other places are empty objects. Positions that would need too many of these become keys.
fn field_body(fields: &FieldErrors) -> Value {
    let mut body = Value::Object(Map::new());
    let mut padding = MAX_PADDING;
    for (path, messages) in fields.iter() {
        let mut target = &mut body;
        for part in path.split('.') {
            target = step(target, part, &mut padding);
        }
        *target = json!(messages);
    }
    body
}

fn step<'a>(value: &'a mut Value, part: &str, padding: &mut usize) -> &'a mut Value {
    let length = match value {
        Value::Null => 0,
        Value::Array(list) => list.len(),
        Value::Object(members) if members.is_empty() => 0,
        _ => usize::MAX,
    };
    if let Ok(position) = part.parse::<usize>()
        && length <= position
        && position - length < *padding
    {
        *padding -= position - length + 1;
        if length == 0 {
            *value = Value::Array(Vec::new());
        }
        if let Value::Array(list) = value {
            list.resize(position + 1, Value::Object(Map::new()));
        }
    }
    let position = part.parse::<usize>().ok().filter(|position| value.get(position).is_some());
    match position {
        Some(position) if value.is_array() => &mut value[position],
        _ => &mut value_as_members(value)[part],
    }
}

/// `value` as an object; a list becomes one whose keys are the positions that hold something.
fn value_as_members(value: &mut Value) -> &mut Value {
    if !value.is_object() {
        let items = match value.take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        };
        let is_padding = |item: &Value| item.as_object().is_some_and(Map::is_empty);
        let held = items.into_iter().enumerate().filter(|(_, item)| !is_padding(item));
        *value = Value::Object(held.map(|(position, item)| (position.to_string(), item)).collect());
    }
    value
}

/// Answers that any operation may give, for the OpenAPI document.
pub(crate) struct ApiErrors;

/// Body of an error answer. For wrong fields, `{field: [messages]}` instead.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub(crate) struct ErrorBody {
    /// For people.
    pub(crate) detail: String,
    /// Stable code.
    pub(crate) code: String,
}

impl utoipa::IntoResponses for ApiErrors {
    fn responses() -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::response::Response>> {
        let described = [
            ("400", "A field is wrong, or the request as a whole.", false),
            ("401", "No credential, or one that is not good.", true),
            ("403", "The credential may not do this.", true),
            ("404", "No such thing in this organisation.", true),
            ("409", "Not possible in the present state.", true),
            ("413", "Larger than the limit.", true),
            ("415", "Not a media type that is understood.", true),
            ("422", "An idempotency key that was used for another request.", true),
            ("429", "Too many requests.", true),
            ("503", "Not possible now; try again later.", true),
            ("507", "No space left.", true),
        ];
        described
            .into_iter()
            .map(|(status, description, has_detail)| {
                let schema: utoipa::openapi::RefOr<utoipa::openapi::Schema> = if has_detail {
                    utoipa::openapi::Ref::from_schema_name("ErrorBody").into()
                } else {
                    // An object by field, or a list of them where the body was a list.
                    utoipa::openapi::ObjectBuilder::new()
                        .schema_type(utoipa::openapi::schema::SchemaType::AnyValue)
                        .into()
                };
                let content = utoipa::openapi::ContentBuilder::new().schema(Some(schema)).build();
                let response = utoipa::openapi::ResponseBuilder::new()
                    .description(description)
                    .content("application/json", content)
                    .build();
                (status.to_owned(), response.into())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_errors_nest() {
        let mut fields = FieldErrors::default();
        fields.add("name", "one");
        fields.add("name", "two");
        fields.add("message.attachments.1.id", "three");
        assert_eq!(
            field_body(&fields),
            json!({"name": ["one", "two"], "message": {"attachments": [{}, {"id": ["three"]}]}})
        );
    }

    #[test]
    fn positions_of_a_hostile_body_cost_little() {
        let mut fields = FieldErrors::default();
        fields.add("ids.0", "one");
        fields.add("ids.4000000000", "two");
        assert_eq!(field_body(&fields), json!({"ids": {"0": ["one"], "4000000000": ["two"]}}));
        let mut fields = FieldErrors::default();
        for number in 0..100 {
            fields.add(format!("{number}{}", ".999".repeat(100)), "deep");
        }
        assert!(field_body(&fields).to_string().len() < 100_000);
    }

    #[test]
    fn faults_of_ours_say_nothing() {
        let (status, _, detail) = describe(&Error::bug("secret detail"));
        assert_eq!((status.as_u16(), detail.as_str()), (500, "Internal server error."));
    }
}
