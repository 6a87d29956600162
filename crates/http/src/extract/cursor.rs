//! Parts of a list that grows at its beginning: `?cursor=...&pageSize=20` and `{next, previous,
//! results}`. A cursor names the row beside the part, so what is added meanwhile moves nothing.

use axum::extract::FromRequestParts;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::request::Parts;
use parlance_domain::{Error, Id, IdKind, Timestamp};
use parlance_service::App;
use parlance_storage::Part;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::query::Query;
use crate::error::ApiError;
use crate::paths::AskedPath;

const DEFAULT_PAGE_SIZE: usize = 20;
const MAX_PAGE_SIZE: usize = 100;

/// Base64 as clients send it back, with or without its last signs.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CursorParams {
    cursor: Option<String>,
    page_size: Option<String>,
}

/// The part that is asked for, and where it was asked.
pub(crate) struct Cursors {
    from: Option<Place>,
    size: usize,
    url: url::Url,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    at: Timestamp,
    id: Uuid,
    is_back: bool,
}

impl Place {
    fn parse(cursor: &str) -> Option<Self> {
        let text = String::from_utf8(BASE64.decode(cursor.trim()).ok()?).ok()?;
        let mut place = Self { at: Timestamp::from_millis(0), id: Uuid::nil(), is_back: false };
        let mut has_position = false;
        for (key, value) in url::form_urlencoded::parse(text.as_bytes()) {
            match key.as_ref() {
                "r" => place.is_back = value == "1",
                "p" => {
                    let (millis, id) = value.split_once('.')?;
                    place.at = Timestamp::from_millis(millis.parse().ok()?);
                    place.id = Uuid::try_parse(id).ok()?;
                    has_position = true;
                }
                _ => {}
            }
        }
        has_position.then_some(place)
    }

    fn cursor(self) -> String {
        let back = if self.is_back { "r=1&" } else { "" };
        BASE64.encode(format!("{back}p={}.{}", self.at.millis(), self.id))
    }
}

impl FromRequestParts<App> for Cursors {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Query(params) = Query::<CursorParams>::from_request_parts(parts, app).await?;
        let cursor = params.cursor.as_deref().filter(|cursor| !cursor.is_empty());
        let from = match cursor {
            Some(cursor) => Some(Place::parse(cursor).ok_or(Error::NotFound("cursor"))?),
            None => None,
        };
        let size = params.page_size.as_deref().and_then(super::page::whole_number).filter(|size| *size > 0);
        let size = size.map_or(DEFAULT_PAGE_SIZE, |size| usize::try_from(size).unwrap_or(usize::MAX));
        let asked = parts.extensions.get::<AskedPath>().map_or(parts.uri.path(), |asked| asked.0.as_str());
        let mut url = url::Url::parse(&app.links.absolute(asked))
            .map_err(|error| Error::internal("making a link to a page", error))?;
        url.set_query(parts.uri.query());
        Ok(Self { from, size: size.min(MAX_PAGE_SIZE), url })
    }
}

impl Cursors {
    /// The row beside the part, and whether the part stands before it in the list.
    pub(crate) fn from<K: IdKind>(&self) -> Option<(Timestamp, Id<K>, bool)> {
        self.from.map(|place| (place.at, Id::from_uuid(place.id), place.is_back))
    }

    /// Rows to ask for: one more than are shown, which tells whether there are others.
    pub(crate) fn limit(&self) -> usize {
        self.size + 1
    }

    /// The answer. The rows of `part` are those nearest to the cursor first; `key` gives the place of one.
    pub(crate) fn answer<T, K: IdKind, V>(
        &self,
        Part { mut rows, is_cut }: Part<T>,
        key: impl Fn(&T) -> (Timestamp, Id<K>),
        view: impl Fn(T) -> V,
    ) -> CursorBody<V> {
        let has_more = is_cut || rows.len() > self.size;
        rows.truncate(self.size);
        let is_back = self.from.is_some_and(|from| from.is_back);
        if is_back {
            rows.reverse();
        }
        let link = |row: Option<&T>, is_back: bool| {
            let (at, id) = key(row?);
            Some(self.link(Place { at, id: id.uuid(), is_back }))
        };
        let (has_next, has_previous) = if is_back { (true, has_more) } else { (has_more, self.from.is_some()) };
        CursorBody {
            count: None,
            next: if has_next { link(rows.last(), false) } else { None },
            previous: if has_previous { link(rows.first(), true) } else { None },
            results: rows.into_iter().map(view).collect(),
        }
    }

    fn link(&self, place: Place) -> String {
        let mut url = self.url.clone();
        let others: Vec<(String, String)> = self
            .url
            .query_pairs()
            .filter(|(key, _)| key != "cursor")
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        url.query_pairs_mut().clear().append_pair("cursor", &place.cursor()).extend_pairs(others);
        url.into()
    }
}

/// A part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CursorBody<T> {
    /// Things in all, where that is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) count: Option<u64>,
    /// URL of what comes after.
    pub(crate) next: Option<String>,
    /// URL of what comes before.
    pub(crate) previous: Option<String>,
    /// The things of this part.
    pub(crate) results: Vec<T>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        let id = Uuid::try_parse("019a0000-0000-7000-8000-00000000002a").unwrap();
        for is_back in [false, true] {
            let place = Place { at: Timestamp::from_millis(1_700_000_000_123), id, is_back };
            let cursor = place.cursor();
            assert_eq!(Place::parse(&cursor), Some(place));
            assert_eq!(Place::parse(cursor.trim_end_matches('=')), Some(place));
        }
        for nonsense in ["", "x", "cD00ODY=", "!!", "cD0x"] {
            assert_eq!(Place::parse(nonsense), None, "{nonsense}");
        }
    }
}
