//! The part of the guard that sees URLs.

use std::net::IpAddr;

use url::{Host, Url};

use crate::address::is_public;
use crate::allow::AllowList;
use crate::error::{BlockReason, Error};

/// Parses the text of a URL. The result is what must be checked, stored and called: parsing a
/// second time, by another parser, is how checks are evaded.
pub fn parse_url(text: &str) -> Result<Url, Error> {
    Url::parse(text).ok().filter(Url::has_host).ok_or(Error::InvalidUrl)
}

/// Rules that hold for every client: a web address without credentials.
pub(crate) fn check_form(url: &Url) -> Result<(), Error> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Error::Blocked { reason: BlockReason::Scheme });
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::Blocked { reason: BlockReason::Credentials });
    }
    if url.port() == Some(0) {
        return Err(Error::Blocked { reason: BlockReason::Port });
    }
    Ok(())
}

/// Rules for addresses that tenants choose. What names resolve to is checked when connecting.
pub(crate) fn check(url: &Url, allow: &AllowList) -> Result<(), Error> {
    check_form(url)?;
    let port = url.port_or_known_default();
    match url.host() {
        None => Err(Error::Blocked { reason: BlockReason::Host }),
        Some(Host::Ipv4(address)) => check_address(address.into(), port, allow),
        Some(Host::Ipv6(address)) => check_address(address.into(), port, allow),
        Some(Host::Domain(name)) => check_name(name, port, allow),
    }
}

fn check_address(address: IpAddr, port: Option<u16>, allow: &AllowList) -> Result<(), Error> {
    if is_public(address) || allow.has_address(address, port) {
        return Ok(());
    }
    Err(Error::Blocked { reason: BlockReason::Address })
}

fn check_name(name: &str, port: Option<u16>, allow: &AllowList) -> Result<(), Error> {
    // A final dot names the same host but compares as another one.
    if name.is_empty() || name.ends_with('.') {
        return Err(Error::Blocked { reason: BlockReason::Host });
    }
    // The connector reads a host as an address where it can, without asking the resolver.
    if let Ok(address) = name.parse() {
        return check_address(address, port, allow);
    }
    if port.is_some_and(|port| allow.has_name(name, port)) {
        return Ok(());
    }
    let local = ["localhost", "localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback"];
    if local.contains(&name) || name.ends_with(".localhost") || name.ends_with(".localdomain") {
        return Err(Error::Blocked { reason: BlockReason::LocalName });
    }
    Ok(())
}
