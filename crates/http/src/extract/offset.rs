//! Lists that are asked for by `limit` and `offset` as well as by page.

use axum::extract::FromRequestParts;
use http::request::Parts;
use parlance_service::App;
use parlance_storage::{Listing, Page};
use serde::Deserialize;

use super::page::{DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, PageBody, Paging, list_url, whole_number};
use super::query::Query;
use crate::error::ApiError;

#[derive(Debug, Deserialize)]
struct OffsetParams {
    limit: Option<String>,
    offset: Option<String>,
}

/// A page, or rows from an offset on where `limit` or `offset` is given.
pub(crate) enum EitherPaging {
    /// By number.
    Page(Paging),
    /// By the rows before it.
    Offset {
        /// The rows asked for.
        page: Page,
        /// Where they were asked for.
        url: url::Url,
    },
}

impl FromRequestParts<App> for EitherPaging {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Query(params) = Query::<OffsetParams>::from_request_parts(parts, app).await?;
        if params.limit.is_none() && params.offset.is_none() {
            return <Paging>::from_request_parts(parts, app).await.map(Self::Page);
        }
        let limit = params.limit.as_deref().and_then(whole_number).filter(|limit| *limit > 0);
        let limit = limit.unwrap_or(DEFAULT_PAGE_SIZE).min(MAX_PAGE_SIZE);
        let offset = params.offset.as_deref().and_then(whole_number).unwrap_or_default();
        // As in pages, there is an end to what can be asked for.
        let offset = offset.min(1_000_000_000 * MAX_PAGE_SIZE);
        Ok(Self::Offset { page: Page { offset, limit }, url: list_url(parts, app)? })
    }
}

impl EitherPaging {
    /// The rows that are asked for.
    pub(crate) fn page(&self) -> Page {
        match self {
            Self::Page(paging) => paging.page(),
            Self::Offset { page, .. } => *page,
        }
    }

    /// The answer, with links in the style that was asked in.
    pub(crate) fn answer<T, V>(&self, listing: Listing<T>, view: impl Fn(T) -> V) -> Result<PageBody<V>, ApiError> {
        let (page, url) = match self {
            Self::Page(paging) => return paging.answer(listing, view),
            Self::Offset { page, url } => (*page, url),
        };
        let link = |offset: u64| {
            let mut link = url.clone();
            let others = url.query_pairs().filter(|(key, _)| !matches!(key.as_ref(), "limit" | "offset" | "page"));
            let others: Vec<(String, String)> = others.map(|(key, value)| (key.into(), value.into())).collect();
            link.query_pairs_mut()
                .clear()
                .extend_pairs(others)
                .append_pair("limit", &page.limit.to_string())
                .append_pair("offset", &offset.to_string());
            String::from(link)
        };
        let end = page.offset + page.limit;
        Ok(PageBody {
            count: listing.total,
            next: (end < listing.total).then(|| link(end)),
            previous: (page.offset > 0).then(|| link(page.offset.saturating_sub(page.limit))),
            results: listing.rows.into_iter().map(view).collect(),
        })
    }
}
