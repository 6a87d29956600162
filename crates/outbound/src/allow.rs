//! The operator's list of addresses that tenants may call although they are not public.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use url::Host;

/// Exceptions from the guard, as given in the setting `OUTBOUND__ALLOW`: comma-separated
/// `host:port` (a name or an address), or a CIDR block such as `10.0.0.0/8`, optionally with a port
/// (`10.0.0.0/8:8080`, `[fd00::/8]:443`). Empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    names: Vec<(String, u16)>,
    blocks: Vec<Block>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Block {
    network: u128,
    /// Of the 128-bit form: IPv4 blocks are kept as v4-mapped addresses.
    prefix: u32,
    port: Option<u16>,
}

/// An entry of the allow-list that is neither `host:port` nor a CIDR block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not `host:port` or an address block such as `10.0.0.0/8`")]
pub struct InvalidAllowEntry(pub String);

impl AllowList {
    /// Whether a name with this port is listed. The name is in the form that [`url::Url`] gives.
    pub fn has_name(&self, name: &str, port: u16) -> bool {
        self.names.iter().any(|(listed, listed_port)| *listed_port == port && listed == name)
    }

    /// Whether an address with this port is listed. `None` asks for any port, which only a block
    /// without a port grants.
    pub fn has_address(&self, address: IpAddr, port: Option<u16>) -> bool {
        let bits = as_v6(address).to_bits();
        self.blocks.iter().any(|block| block.has_port(port) && block.contains(bits))
    }

    /// The ports that entries name. Requests to these need a resolver that knows the port.
    pub(crate) fn ports(&self) -> Vec<u16> {
        let named = self.names.iter().map(|(_, port)| *port);
        let mut ports: Vec<u16> = named.chain(self.blocks.iter().filter_map(|block| block.port)).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

impl Block {
    fn new(address: IpAddr, prefix: Option<u32>, port: Option<u16>) -> Option<Self> {
        let (longest, skipped) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        let prefix = prefix.unwrap_or(longest);
        (prefix <= longest).then(|| Self { network: as_v6(address).to_bits(), prefix: prefix + skipped, port })
    }

    fn has_port(&self, port: Option<u16>) -> bool {
        self.port.is_none() || self.port == port
    }

    fn contains(&self, bits: u128) -> bool {
        (bits ^ self.network).checked_shr(128 - self.prefix).unwrap_or(0) == 0
    }
}

/// One form for both families, so that `::ffff:10.0.0.5` and `10.0.0.5` are the same address.
fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

impl FromStr for AllowList {
    type Err = InvalidAllowEntry;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut list = Self::default();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            list.add(entry).ok_or_else(|| InvalidAllowEntry(entry.to_owned()))?;
        }
        Ok(list)
    }
}

impl AllowList {
    fn add(&mut self, entry: &str) -> Option<()> {
        if let Some((address, rest)) = entry.split_once('/') {
            self.blocks.push(parse_block(address, rest)?);
            return Some(());
        }
        let (host, port) = entry.rsplit_once(':')?;
        let port = parse_port(port)?;
        match Host::parse(host).ok()? {
            Host::Domain(name) => self.names.push((name, port)),
            Host::Ipv4(address) => self.blocks.push(Block::new(address.into(), None, Some(port))?),
            Host::Ipv6(address) => self.blocks.push(Block::new(address.into(), None, Some(port))?),
        }
        Some(())
    }
}

/// `address` may start with `[`; then `rest` is `prefix]` or `prefix]:port`.
fn parse_block(address: &str, rest: &str) -> Option<Block> {
    let (address, prefix, port) = if let Some(address) = address.strip_prefix('[') {
        let (prefix, after) = rest.split_once(']')?;
        (address, prefix, after.strip_prefix(':').or_else(|| after.is_empty().then_some(""))?)
    } else {
        let (prefix, port) = rest.split_once(':').unwrap_or((rest, ""));
        (address, prefix, port)
    };
    let port = if port.is_empty() { None } else { Some(parse_port(port)?) };
    Block::new(address.parse().ok()?, Some(prefix.parse().ok()?), port)
}

fn parse_port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::AllowList;

    #[test]
    fn entries_grant_what_they_say() {
        let list: AllowList =
            "Models.Internal:11434, 127.0.0.1:8080,10.1.0.0/16 , 192.168.0.0/24:443,[fd00::/8]:80,[::1]:9, fd12::/16"
                .parse()
                .unwrap();
        assert!(list.has_name("models.internal", 11434));
        assert!(!list.has_name("models.internal", 80));
        assert!(!list.has_name("internal", 11434));
        for (address, port, granted) in [
            ("127.0.0.1", Some(8080), true),
            ("::ffff:127.0.0.1", Some(8080), true),
            ("127.0.0.1", Some(8081), false),
            ("127.0.0.2", Some(8080), false),
            ("127.0.0.1", None, false),
            ("10.1.255.1", None, true),
            ("10.1.0.1", Some(5), true),
            ("10.2.0.1", Some(5), false),
            ("192.168.0.9", Some(443), true),
            ("192.168.0.9", Some(80), false),
            ("192.168.1.9", Some(443), false),
            ("fd99::1", Some(80), true),
            ("fd99::1", Some(81), false),
            ("fd12::1", Some(81), true),
            ("::1", Some(9), true),
        ] {
            assert_eq!(list.has_address(address.parse().unwrap(), port), granted, "{address} {port:?}");
        }
        assert_eq!(list.ports(), [9, 80, 443, 8080, 11434]);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "host",
            "host:",
            "host:0",
            "host:99999",
            "10.0.0.0/33",
            "10.0.0.0/8:0",
            "10.0.0.1",
            "a b:80",
            "[fd00::/8]x",
            "http://a:80",
        ] {
            assert!(text.parse::<AllowList>().is_err(), "{text}");
        }
        assert_eq!(" , ".parse::<AllowList>(), Ok(AllowList::default()));
    }

    #[test]
    fn the_widest_block_holds_everything() {
        let list: AllowList = "::/0".parse().unwrap();
        assert!(list.has_address("127.0.0.1".parse().unwrap(), None));
    }
}
