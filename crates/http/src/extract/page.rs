//! Pages of a list: `?page=1&pageSize=20` and `{count, next, previous, results}`.

use std::num::{IntErrorKind, ParseIntError};

use axum::extract::FromRequestParts;
use http::request::Parts;
use parlance_domain::Error;
use parlance_service::App;
use parlance_storage::{Listing, Page};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::query::Query;
use crate::error::ApiError;
use crate::paths::AskedPath;

pub(super) const DEFAULT_PAGE_SIZE: u64 = 20;
pub(super) const MAX_PAGE_SIZE: u64 = 10_000;

/// Which page is asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct PageParams {
    /// From 1. A page beyond the last one is 404.
    #[param(value_type = Option<u64>, minimum = 1)]
    page: Option<String>,
    /// 20 by default; more than 10,000 gives 10,000.
    #[param(value_type = Option<u64>, minimum = 1)]
    page_size: Option<String>,
}

/// The page that is asked for, of `MAX` rows at most, and where it was asked.
pub(crate) struct Paging<const MAX: u64 = MAX_PAGE_SIZE> {
    number: u64,
    size: u64,
    url: url::Url,
}

impl<const MAX: u64> FromRequestParts<App> for Paging<MAX> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Query(params) = Query::<PageParams>::from_request_parts(parts, app).await?;
        let number = params.page.as_deref().map_or(Some(1), |page| page.parse().ok().filter(|page| *page > 0));
        let number = number.filter(|number| *number < 1_000_000_000).ok_or(Error::NotFound("page"))?;
        let size = params.page_size.as_deref().and_then(whole_number).filter(|size| *size > 0);
        let size = size.unwrap_or(DEFAULT_PAGE_SIZE).min(MAX);
        Ok(Self { number, size, url: list_url(parts, app)? })
    }
}

/// Where a list was asked for, as the client wrote it.
pub(super) fn list_url(parts: &Parts, app: &App) -> Result<url::Url, ApiError> {
    let asked = parts.extensions.get::<AskedPath>().map_or(parts.uri.path(), |asked| asked.0.as_str());
    let mut url = url::Url::parse(&app.links.absolute(asked))
        .map_err(|error| Error::internal("making a link to a page", error))?;
    url.set_query(parts.uri.query());
    Ok(url)
}

/// A whole number, or the largest one for what is larger.
pub(super) fn whole_number(text: &str) -> Option<u64> {
    text.parse()
        .map_or_else(|error: ParseIntError| (*error.kind() == IntErrorKind::PosOverflow).then_some(u64::MAX), Some)
}

impl<const MAX: u64> Paging<MAX> {
    /// The rows that the page holds.
    pub(crate) fn page(&self) -> Page {
        Page { offset: (self.number - 1) * self.size, limit: self.size }
    }

    /// The answer: the rows of the page between links to its neighbours.
    pub(crate) fn answer<T, V>(&self, listing: Listing<T>, view: impl Fn(T) -> V) -> Result<PageBody<V>, ApiError> {
        if self.number > 1 && (self.number - 1) * self.size >= listing.total {
            return Err(Error::NotFound("page").into());
        }
        let has_next = self.number * self.size < listing.total;
        Ok(PageBody {
            count: listing.total,
            next: has_next.then(|| self.link(self.number + 1)),
            previous: (self.number > 1).then(|| self.link(self.number - 1)),
            results: listing.rows.into_iter().map(view).collect(),
        })
    }

    fn link(&self, number: u64) -> String {
        let mut url = self.url.clone();
        let others: Vec<(String, String)> = self
            .url
            .query_pairs()
            .filter(|(key, _)| key != "page")
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        url.query_pairs_mut().clear().extend_pairs(others).append_pair("page", &number.to_string());
        url.into()
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PageBody<T> {
    /// Things in all.
    pub(crate) count: u64,
    /// URL of the next page.
    pub(crate) next: Option<String>,
    /// URL of the page before.
    pub(crate) previous: Option<String>,
    /// The things of this page.
    pub(crate) results: Vec<T>,
}
