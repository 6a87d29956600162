//! The part of the guard that sees what names resolve to.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::address::is_public;
use crate::allow::AllowList;
use crate::error::{BlockReason, Error};

/// Finds the addresses of a name. Its answers are checked whoever gives them.
pub trait Lookup: Send + Sync + 'static {
    /// All addresses of `name`.
    fn lookup(&self, name: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;
}

/// Asks the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, name: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|found| found.ip()).collect()) })
    }
}

/// Drops every address that may not be called. One resolver serves one port (or all ports that no
/// entry of the allow-list names), because the connector tells a resolver only the name.
pub(crate) struct GuardedResolver {
    pub(crate) lookup: Arc<dyn Lookup>,
    pub(crate) allow: Arc<AllowList>,
    pub(crate) port: Option<u16>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow = Arc::clone(&self.allow);
        let port = self.port;
        let name = name.as_str().to_owned();
        let answer = self.lookup.lookup(name.clone());
        Box::pin(async move {
            let found = answer.await.map_err(|_lookup_fault| Error::Resolve)?;
            if found.is_empty() {
                return Err(Error::Resolve.into());
            }
            let named = port.is_some_and(|port| allow.has_name(&name, port));
            let allowed: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| named || is_public(*address) || allow.has_address(*address, port))
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            if allowed.is_empty() {
                return Err(Error::Blocked { reason: BlockReason::Address }.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}
