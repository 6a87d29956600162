//! What handlers take from a request.

mod auth;
mod body;
mod client_address;
mod cursor;
mod form;
mod ids;
mod offset;
mod page;
mod query;

pub(crate) use auth::{Anyone, Authorized, Caller, grants};
pub(crate) use body::{Body, ListBody, Patch, from_value, patch};
pub(crate) use client_address::ClientAddress;
pub(crate) use cursor::{CursorBody, Cursors};
pub(crate) use form::{Form, FormField};
pub(crate) use ids::{PathId, PathIds, PathIds3, Reference};
pub(crate) use offset::EitherPaging;
pub(crate) use page::{PageBody, Paging};
pub(crate) use query::Query;
