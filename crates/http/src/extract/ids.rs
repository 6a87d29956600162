//! Ids in paths and bodies.

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use parlance_domain::{Error, Id, IdKind};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::error::ApiError;

/// The one id of a path. What is not an id is not found.
pub(crate) struct PathId<K: IdKind>(pub(crate) Id<K>);

/// The two ids of a path, in order.
pub(crate) struct PathIds<A: IdKind, B: IdKind>(pub(crate) Id<A>, pub(crate) Id<B>);

async fn path_values<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Vec<String>, ApiError> {
    let params =
        RawPathParams::from_request_parts(parts, state).await.map_err(|_not_text| ApiError(Error::NotFound("path")))?;
    Ok(params.iter().map(|(_, value)| value.to_owned()).collect())
}

impl<K: IdKind, S: Send + Sync> FromRequestParts<S> for PathId<K> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let values = path_values(parts, state).await?;
        let id = values.first().and_then(|value| Id::parse(value)).ok_or(Error::NotFound(K::NOUN))?;
        Ok(Self(id))
    }
}

impl<A: IdKind, B: IdKind, S: Send + Sync> FromRequestParts<S> for PathIds<A, B> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let values = path_values(parts, state).await?;
        let first = values.first().and_then(|value| Id::parse(value)).ok_or(Error::NotFound(A::NOUN))?;
        let second = values.get(1).and_then(|value| Id::parse(value)).ok_or(Error::NotFound(B::NOUN))?;
        Ok(Self(first, second))
    }
}

/// The three ids of a path, in order.
pub(crate) struct PathIds3<A: IdKind, B: IdKind, C: IdKind>(pub(crate) Id<A>, pub(crate) Id<B>, pub(crate) Id<C>);

impl<A: IdKind, B: IdKind, C: IdKind, S: Send + Sync> FromRequestParts<S> for PathIds3<A, B, C> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let values = path_values(parts, state).await?;
        let first = values.first().and_then(|value| Id::parse(value)).ok_or(Error::NotFound(A::NOUN))?;
        let second = values.get(1).and_then(|value| Id::parse(value)).ok_or(Error::NotFound(B::NOUN))?;
        let third = values.get(2).and_then(|value| Id::parse(value)).ok_or(Error::NotFound(C::NOUN))?;
        Ok(Self(first, second, third))
    }
}

/// Another thing, named in a body by its id or by an object with an `id`. What is not an id is kept
/// as text, so that the caller decides between an error and a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference(pub(crate) String);

impl Reference {
    /// The id, if it is one.
    pub(crate) fn id<K: IdKind>(&self) -> Option<Id<K>> {
        Id::parse(&self.0)
    }

    /// The id; for what is none, one that nothing has. For fields where what is unknown means the
    /// default.
    pub(crate) fn id_or_unknown<K: IdKind>(&self) -> Id<K> {
        self.id().unwrap_or_else(|| Id::from_uuid(uuid::Uuid::nil()))
    }

    /// The id, or an error on the field.
    pub(crate) fn require<K: IdKind>(&self, path: &str) -> Result<Id<K>, Error> {
        self.id().ok_or_else(|| Error::field(path, format!("No {} has this id.", K::NOUN)))
    }

    /// The ids of a list, or an error on each element that is none.
    pub(crate) fn require_all<K: IdKind>(references: &[Self], path: &str) -> Result<Vec<Id<K>>, Error> {
        let named = references.iter().enumerate();
        named.map(|(position, reference)| reference.require(&format!("{path}.{position}.id"))).collect()
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            Value::Object(members) => match members.get("id") {
                Some(Value::String(text)) => Ok(Self(text.clone())),
                _ => Err(serde::de::Error::missing_field("id")),
            },
            Value::Null => Err(serde::de::Error::custom("invalid type: null")),
            _ => Err(serde::de::Error::custom("expected an id or an object with an id")),
        }
    }
}
