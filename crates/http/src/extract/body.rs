//! JSON bodies, in either key style.
//!
//! Clients of the contract write `isStreaming` or `is_streaming`, at every level. Keys are made
//! camelCase before anything is read; where both forms are given, camelCase wins. Free-form objects
//! are left exactly as they came.

use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use bytes::Bytes;
use http::header;
use parlance_domain::{Error, FieldErrors};
use parlance_service::App;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::routes::MAX_JSON_BYTES;

/// Members whose values are the sender's own and are kept as they came.
const VERBATIM: [&str; 11] = [
    "queryMetadata",
    "contentPayload",
    "metadata",
    "rawUserDefineMetadata",
    "headers",
    "rawParametersSchema",
    "rawOutputFormat",
    "canvas",
    "rawHeaders",
    "rawMcpHeader",
    "mcpEnv",
];

/// Wrong fields that one answer names.
const MAX_FIELD_ERRORS: usize = 100;

/// A JSON body read into `T`.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _app: &App) -> Result<Self, ApiError> {
        let bytes = read_json(request).await?;
        parse(&bytes).map(Self).map_err(ApiError)
    }
}

/// A JSON list whose elements are read into `T`.
pub(crate) struct ListBody<T>(pub(crate) Vec<T>);

impl<T: DeserializeOwned> FromRequest<App> for ListBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _app: &App) -> Result<Self, ApiError> {
        let value = parse_value(&read_json(request).await?)?;
        if !value.is_array() {
            return Err(Error::field("nonFieldErrors", "Expected a list of items.").into());
        }
        from_value(value).map(Self).map_err(ApiError)
    }
}

/// The bytes of a body that says it is JSON, or says nothing.
async fn read_json(request: Request) -> Result<Bytes, ApiError> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.map(|value| value.split(';').next().unwrap_or_default().trim());
    if media_type.is_some_and(|media_type| !is_json(media_type)) {
        let given = media_type.unwrap_or_default();
        return Err(Error::UnsupportedMediaType(format!(
            "Unsupported media type \"{given}\" in request; send application/json."
        ))
        .into());
    }
    read(request).await
}

fn is_json(media_type: &str) -> bool {
    media_type.eq_ignore_ascii_case("application/json") || media_type.to_ascii_lowercase().ends_with("+json")
}

/// The whole body, up to the limit of JSON also where the router lets larger forms in.
async fn read(mut request: Request) -> Result<Bytes, ApiError> {
    DefaultBodyLimit::max(MAX_JSON_BYTES).apply(&mut request);
    Bytes::from_request(request, &()).await.map_err(|rejection| {
        if rejection.status() == http::StatusCode::PAYLOAD_TOO_LARGE {
            ApiError(Error::TooLarge { limit: MAX_JSON_BYTES as u64 })
        } else {
            ApiError(Error::BadRequest("The body could not be read.".to_owned()))
        }
    })
}

/// Reads `T`, a struct, from the text of a JSON object. An empty body is an empty object.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let value = parse_value(bytes)?;
    // A derived struct would also read a list, by position.
    if !value.is_object() {
        return Err(Error::field("nonFieldErrors", "Invalid data. Expected an object."));
    }
    from_value(value)
}

/// Reads JSON text and makes its keys camelCase.
fn parse_value(bytes: &[u8]) -> Result<Value, Error> {
    let value: Value = if bytes.iter().all(u8::is_ascii_whitespace) {
        Value::Object(Map::new())
    } else {
        serde_json::from_slice(bytes).map_err(|error| Error::BadRequest(format!("JSON parse error - {error}.")))?
    };
    let mut errors = FieldErrors::default();
    let value = camel_case(value, &mut String::new(), &mut errors);
    errors.finish()?;
    Ok(value)
}

/// Reads `T` from a value whose keys are camelCase.
pub(crate) fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let mut path = error.path().to_string().replace('[', ".").replace(']', "");
        let inner = error.inner().to_string();
        let missing = inner.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        if path == "." || path.is_empty() {
            path.clear();
        }
        match missing {
            Some(field) if path.is_empty() => Error::field(field, "This field is required."),
            Some(field) if path.ends_with(field) => Error::field(path, "This field is required."),
            Some(field) => Error::field(format!("{path}.{field}"), "This field is required."),
            None => {
                let path = if path.is_empty() { "nonFieldErrors".to_owned() } else { path };
                Error::field(path, sentence(&inner))
            }
        }
    })
}

fn sentence(text: &str) -> String {
    if text.starts_with("invalid type: null") {
        return "This field may not be null.".to_owned();
    }
    let mut characters = text.chars();
    let first = characters.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(characters).collect::<String>() + "."
}

fn camel_case(value: Value, path: &mut String, errors: &mut FieldErrors) -> Value {
    let length = path.len();
    match value {
        Value::Object(members) => {
            let mut renamed = Map::with_capacity(members.len());
            let mut snake = Vec::new();
            for (key, member) in members {
                let camel = to_camel_case(&key);
                push(path, &camel);
                let member = if VERBATIM.contains(&camel.as_str()) {
                    check_text(&member, path, errors);
                    member
                } else {
                    camel_case(member, path, errors)
                };
                path.truncate(length);
                if camel == key {
                    renamed.insert(camel, member);
                } else {
                    snake.push((camel, member));
                }
            }
            for (key, member) in snake {
                renamed.entry(key).or_insert(member);
            }
            Value::Object(renamed)
        }
        Value::Array(items) => Value::Array(
            items
                .into_iter()
                .enumerate()
                .map(|(position, item)| {
                    push(path, &position.to_string());
                    let item = camel_case(item, path, errors);
                    path.truncate(length);
                    item
                })
                .collect(),
        ),
        other => {
            check_text(&other, path, errors);
            other
        }
    }
}

fn push(path: &mut String, part: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(part);
}

/// Null characters cannot be stored by every database, so they are refused by all.
fn check_text(value: &Value, path: &str, errors: &mut FieldErrors) {
    if has_null(value) && errors.iter().count() < MAX_FIELD_ERRORS {
        errors.add(path, "Null characters are not allowed.");
    }
}

/// Whether a text or a key in `value` holds a null character.
fn has_null(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(members) => members.iter().any(|(key, member)| key.contains('\0') || has_null(member)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// `number_of_chunks` to `numberOfChunks`. What is not `snake_case` stays as it is.
pub(crate) fn to_camel_case(key: &str) -> String {
    if !key.contains('_') || key.starts_with('_') {
        return key.to_owned();
    }
    let mut camel = String::with_capacity(key.len());
    let mut raise = false;
    for character in key.chars() {
        if character == '_' {
            raise = true;
        } else if raise {
            camel.extend(character.to_uppercase());
            raise = false;
        } else {
            camel.push(character);
        }
    }
    camel
}

/// A member that may be absent (leave it), null (clear it) or a value.
pub(crate) type Patch<T> = Option<Option<T>>;

/// For `#[serde(default, deserialize_with = "patch")]` on a [`Patch`].
pub(crate) fn patch<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Patch<T>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Example {
        is_streaming: bool,
        #[serde(default)]
        query_metadata: Value,
        #[serde(default)]
        items: Vec<Item>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Item {
        page_number: u32,
    }

    #[test]
    fn both_key_styles_are_read_and_free_form_objects_are_not_touched() {
        let body = json!({
            "is_streaming": true,
            "query_metadata": {"knowledge_bases": [{"has_user_selected_all": "True"}]},
            "items": [{"page_number": 3}, {"pageNumber": 4, "page_number": 5}],
            "unknown_key": 1,
        });
        let example: Example = parse(body.to_string().as_bytes()).unwrap();
        assert!(example.is_streaming);
        assert_eq!(example.query_metadata, json!({"knowledge_bases": [{"has_user_selected_all": "True"}]}));
        assert_eq!(example.items.iter().map(|item| item.page_number).collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn one_answer_names_a_hundred_wrong_fields_at_most() {
        let body = json!({"isStreaming": true, "items": vec!["\0"; 5000]}).to_string();
        let Err(Error::Invalid(fields)) = parse::<Example>(body.as_bytes()) else { panic!("accepted") };
        assert_eq!(fields.iter().count(), MAX_FIELD_ERRORS);
    }

    #[test]
    fn wrong_fields_are_named_by_their_path() {
        let message = |body: &str| match parse::<Example>(body.as_bytes()) {
            Err(Error::Invalid(fields)) => {
                fields.iter().map(|(path, messages)| [path, ": ", &messages.join(" ")].concat()).collect::<String>()
            }
            other => format!("{other:?}"),
        };
        assert_eq!(message("{}"), "isStreaming: This field is required.");
        assert_eq!(message(r#"{"isStreaming": null}"#), "isStreaming: This field may not be null.");
        assert_eq!(message(r#"{"isStreaming": true, "items": [{}]}"#), "items.0.pageNumber: This field is required.");
        assert!(
            message(r#"{"isStreaming": true, "items": [{"page_number": "x"}]}"#).starts_with("items.0.pageNumber: ")
        );
        assert_eq!(message("{\"isStreaming\": \"a\\u0000\"}"), "isStreaming: Null characters are not allowed.");
        let escaped = r#"{"isStreaming": true, "queryMetadata": {"text": "the escape \\u0000 as text"}}"#;
        assert_eq!(parse::<Example>(escaped.as_bytes()).unwrap().query_metadata["text"], r"the escape \u0000 as text");
        let nested = r#"{"isStreaming": true, "queryMetadata": [{"a": ["\u0000"]}]}"#;
        assert_eq!(message(nested), "queryMetadata: Null characters are not allowed.");
        assert!(message("[1]").starts_with("nonFieldErrors: "));
        assert!(matches!(parse::<Example>(b"{"), Err(Error::BadRequest(_))));
    }
}
