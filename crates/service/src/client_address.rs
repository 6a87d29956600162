//! Which address a request comes from, also behind proxies.

use std::net::IpAddr;

use parlance_outbound::AllowList;

/// Proxies in front of the server, as address blocks. What others say about the client is not
/// believed: by default nobody is.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(AllowList);

impl TrustedProxies {
    /// Reads addresses and blocks such as `127.0.0.0/8, 10.1.2.3`, separated by commas.
    ///
    /// # Errors
    /// The entry that is none.
    pub fn parse(blocks: &str) -> Result<Self, String> {
        let entries: Vec<String> = blocks.split(',').map(|entry| as_block(entry.trim())).collect();
        entries.join(",").parse().map(Self).map_err(|error: parlance_outbound::InvalidAllowEntry| error.0)
    }

    fn has(&self, address: IpAddr) -> bool {
        self.0.has_address(address, None)
    }

    /// The client's address: that of the peer, unless the peer is a trusted proxy. Then the last
    /// address of `X-Forwarded-For` that is no trusted proxy, since each proxy appends the one it was
    /// asked by and only what trusted ones wrote counts. An IPv4 address is one also where it came
    /// as part of IPv6.
    pub fn client_address<'h>(&self, peer: IpAddr, forwarded_for: impl Iterator<Item = &'h str>) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.has(client) {
            return client;
        }
        let named: Vec<&str> = forwarded_for.flat_map(|header| header.split(',')).map(str::trim).collect();
        for name in named.into_iter().rev() {
            let Some(address) = parse(name) else { break };
            client = address;
            if !self.has(client) {
                break;
            }
        }
        client
    }
}

/// An address alone is a block of one.
fn as_block(entry: &str) -> String {
    match entry.parse() {
        Ok(IpAddr::V4(address)) => format!("{address}/32"),
        Ok(IpAddr::V6(address)) => format!("{address}/128"),
        Err(_) => entry.to_owned(),
    }
}

/// An address, or one with a port.
fn parse(text: &str) -> Option<IpAddr> {
    let plain = text.trim_start_matches('[').trim_end_matches(']');
    let address = plain.parse().ok().or_else(|| text.parse().ok().map(|socket: std::net::SocketAddr| socket.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let ask = |trusted: &str, peer: &str, headers: &[&str]| {
            let proxies = TrustedProxies::parse(trusted).unwrap();
            proxies.client_address(peer.parse().unwrap(), headers.iter().copied()).to_string()
        };
        assert_eq!(ask("", "127.0.0.1", &["9.9.9.9"]), "127.0.0.1");
        assert_eq!(ask("10.0.0.0/8", "127.0.0.1", &["9.9.9.9"]), "127.0.0.1");
        assert_eq!(ask("127.0.0.0/8", "127.0.0.1", &[]), "127.0.0.1");
        assert_eq!(ask("127.0.0.0/8", "127.0.0.1", &["9.9.9.9"]), "9.9.9.9");
        assert_eq!(ask("127.0.0.0/8", "::ffff:127.0.0.1", &["9.9.9.9"]), "9.9.9.9");
        // What the client itself wrote stands in front and does not count.
        assert_eq!(ask("127.0.0.0/8", "127.0.0.1", &["1.1.1.1, 9.9.9.9"]), "9.9.9.9");
        assert_eq!(ask("127.0.0.0/8,10.0.0.0/8", "127.0.0.1", &["1.1.1.1", "9.9.9.9, 10.0.0.7"]), "9.9.9.9");
        assert_eq!(ask("127.0.0.0/8", "127.0.0.1", &["9.9.9.9, unknown"]), "127.0.0.1");
        assert_eq!(ask("127.0.0.0/8", "127.0.0.1", &["9.9.9.9:4711"]), "9.9.9.9");
        assert_eq!(ask("127.0.0.0/8", "127.0.0.1", &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(ask("127.0.0.0/8", "127.0.0.1", &["2001:db8::1"]), "2001:db8::1");
        assert_eq!(ask("127.0.0.1, ::1", "::1", &["9.9.9.9"]), "9.9.9.9");
        assert_eq!(ask("127.0.0.1, ::1", "127.0.0.2", &["9.9.9.9"]), "127.0.0.2");
        assert_eq!(TrustedProxies::parse("proxy.example").unwrap_err(), "proxy.example");
    }
}
