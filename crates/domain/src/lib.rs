//! What things are: identifiers, time, outcomes, who may do what.
//!
//! No async, no I/O, no HTTP. Every other crate may depend on this one; it depends on none of them.

mod access;
mod error;
mod id;
mod time;

pub use access::{Permission, Principal, PrincipalKind, Reach, Role, Scopes, Tenant, Visitor};
pub use error::{Error, FieldErrors, Result};
pub use id::{Id, IdKind, Ids, kind};
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
