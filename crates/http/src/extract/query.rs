//! Query strings, in either key style.

use axum::extract::FromRequestParts;
use http::request::Parts;
use parlance_domain::Error;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::body::{from_value, to_camel_case};
use crate::error::ApiError;

/// A query string read into `T`, whose members are all text. Of a repeated name the last counts.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let mut members = Map::new();
        for (key, value) in url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
            let key = to_camel_case(&key);
            if value.contains('\0') {
                return Err(Error::field(key, "Null characters are not allowed.").into());
            }
            members.insert(key, Value::String(value.into_owned()));
        }
        from_value(Value::Object(members)).map(Self).map_err(ApiError)
    }
}
