//! Asking DNS for the records that prove whose a domain is.
//!
//! Only the operator's name servers are asked, so nobody else chooses where a question goes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};

/// Time for one question to one name server.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Name servers that are asked at most.
const MAX_SERVERS: usize = 3;
/// Where the system names its name servers.
const SYSTEM: &str = "/etc/resolv.conf";

/// DNS did not answer: not that there is no such record, which is an empty answer.
#[derive(Debug, thiserror::Error)]
#[error("DNS did not answer: {0}")]
pub struct DnsError(String);

/// Asks name servers. Remembers nothing, so that a record is seen as soon as the servers tell it.
pub struct Dns {
    resolver: TokioResolver,
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Dns")
    }
}

impl Dns {
    /// Asks this name server, or the system's.
    ///
    /// # Errors
    /// When the system names none.
    pub async fn new(server: Option<SocketAddr>) -> Result<Self, DnsError> {
        let servers = match server {
            Some(server) => vec![server],
            None => system_servers(&tokio::fs::read_to_string(SYSTEM).await.unwrap_or_default()),
        };
        if servers.is_empty() {
            return Err(DnsError(format!("{SYSTEM} names no server")));
        }
        let servers = servers.into_iter().map(|server| {
            let at_port = |mut connection: ConnectionConfig| {
                connection.port = server.port();
                connection
            };
            let connections = vec![at_port(ConnectionConfig::udp()), at_port(ConnectionConfig::tcp())];
            NameServerConfig::new(server.ip(), true, connections)
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.timeout = TIMEOUT;
        options.attempts = 2;
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        let resolver = builder.build().map_err(|error| DnsError(error.to_string()))?;
        Ok(Self { resolver })
    }

    /// The names that `domain` is another name of, in lower case and without the dot at the end.
    pub async fn cname(&self, domain: &str) -> Result<Vec<String>, DnsError> {
        self.ask(domain, RecordType::CNAME, |data| match data {
            RData::CNAME(name) => Some(name.0.to_ascii().trim_end_matches('.').to_ascii_lowercase()),
            _ => None,
        })
        .await
    }

    /// The texts at `domain`. Parts of one record are joined; what is not UTF-8 is replaced.
    pub async fn txt(&self, domain: &str) -> Result<Vec<String>, DnsError> {
        self.ask(domain, RecordType::TXT, |data| match data {
            RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
            _ => None,
        })
        .await
    }

    async fn ask(
        &self,
        domain: &str,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<String>,
    ) -> Result<Vec<String>, DnsError> {
        // The dot at the end keeps search domains of the system out.
        match self.resolver.lookup(format!("{domain}."), kind).await {
            Ok(found) => Ok(found.answers().iter().filter_map(|record| read(&record.data)).collect()),
            Err(error) if is_absence(&error) => Ok(Vec::new()),
            Err(error) => Err(DnsError(error.to_string())),
        }
    }
}

fn is_absence(error: &NetError) -> bool {
    use hickory_resolver::proto::op::ResponseCode;
    match error {
        NetError::Dns(hickory_resolver::net::DnsError::NoRecordsFound(nothing)) => {
            matches!(nothing.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
        }
        _ => false,
    }
}

/// The first name servers of a `resolv.conf`.
fn system_servers(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|address| address.trim().parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, 53))
        .take(MAX_SERVERS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_name_servers_are_read() {
        let text = "# by hand\nsearch example.com\nnameserver 10.0.0.2\n nameserver ::1\nnameserver nonsense\n\
                    nameserver 10.0.0.3\nnameserver 10.0.0.4\n";
        let expected: Vec<SocketAddr> = ["10.0.0.2:53", "[::1]:53", "10.0.0.3:53"].map(|a| a.parse().unwrap()).into();
        assert_eq!(system_servers(text), expected);
        assert!(system_servers("").is_empty());
    }
}
