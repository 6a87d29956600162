//! Every HTTP request that leaves the process goes through here.
//!
//! Two clients with one interface. The guarded one ([`Outbound::new`]) is for addresses that
//! tenants choose: webhooks, tools, providers added through the API. It refuses everything that is
//! not a public address. The other one ([`Outbound::operator`]) is for addresses from the
//! configuration file: it has the same limits but may call the local network.
//!
//! The guard works in two places because neither sees everything. An address written as a number
//! never reaches a resolver, so [`Outbound::send`] checks the parsed URL; a name may resolve to
//! anything, so the resolver of the connector drops addresses that are not public and the
//! connection goes to exactly the addresses that were checked. The URL is parsed once, and the
//! same parsed value is what the client connects to. Redirects are never followed and proxy
//! variables of the environment are ignored, since both would lead past the check.
//!
//! This crate must stay the only one that builds a `reqwest::Client`.

mod address;
mod allow;
mod client;
mod dns;
mod error;
mod guard;
mod resolve;

pub use address::is_public;
pub use allow::{AllowList, InvalidAllowEntry};
pub use client::{Limits, Outbound, Response};
pub use dns::{Dns, DnsError};
pub use error::{BlockReason, Error};
pub use guard::parse_url;
pub use resolve::{Lookup, SystemLookup};

/// The request that [`Outbound::send`] takes; it belongs to no client until then.
pub use reqwest::{Method, Request, StatusCode, header};
pub use url::Url;
