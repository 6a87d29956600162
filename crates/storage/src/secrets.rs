//! Sealing secrets for the database: envelope encryption with AES-256-GCM.
//!
//! Each secret has a data key of its own, which the master key seals. Both layers are bound to
//! where the secret stands (organisation, table, row, column), so a sealed value moved to another
//! row or organisation does not open.
//!
//! Layout: version (1 byte) · nonce of the data key (12) · sealed data key (32 + 16) · nonce (12) ·
//! sealed secret.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use hmac::{Hmac, Mac};
use parlance_domain::{Error, Result, Tenant};
use sha2::Sha256;
use zeroize::Zeroizing;

const VERSION: u8 = 1;
pub(crate) const KEY_BYTES: usize = 32;
pub(crate) const NONCE_BYTES: usize = 12;
pub(crate) const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = 1 + NONCE_BYTES + KEY_BYTES + TAG_BYTES + NONCE_BYTES;

/// Where a secret stands.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Whose it is.
    pub tenant: Tenant,
    /// The table.
    pub table: &'a str,
    /// The row's id.
    pub row: &'a str,
    /// The column.
    pub column: &'a str,
}

impl Place<'_> {
    fn bytes(&self) -> Vec<u8> {
        format!("{}|{}|{}|{}", self.tenant.organisation(), self.table, self.row, self.column).into_bytes()
    }
}

/// The key that seals all others. Shows nothing in `Debug`; leaves the program sealed with a passphrase
/// or into a key file.
pub struct MasterKey(pub(crate) Zeroizing<[u8; KEY_BYTES]>);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("MasterKey")
    }
}

impl MasterKey {
    /// Reads the key file, or makes it (mode 0600, flushed to disk) when it does not exist.
    pub fn load_or_create(path: &Path) -> std::io::Result<Self> {
        match std::fs::read(path) {
            Ok(bytes) => <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).map(|key| Self(Zeroizing::new(key))).map_err(
                |_wrong_length| {
                    std::io::Error::new(std::io::ErrorKind::InvalidData, "the master key file must hold 32 bytes")
                },
            ),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
                getrandom::fill(key.as_mut()).map_err(std::io::Error::other)?;
                let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
                file.write_all(key.as_ref())?;
                file.sync_all()?;
                Ok(Self(key))
            }
            Err(error) => Err(error),
        }
    }

    /// A key for one purpose, such as signing links: HMAC-SHA-256 of the purpose under the master
    /// key. Keys of different purposes tell nothing of each other.
    pub fn derive(&self, purpose: &str) -> Result<Zeroizing<[u8; KEY_BYTES]>> {
        let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(self.0.as_ref())
            .map_err(|error| Error::internal("deriving a key", error))?;
        mac.update(purpose.as_bytes());
        Ok(Zeroizing::new(mac.finalize().into_bytes().into()))
    }

    /// Seals a secret for one place.
    pub fn seal(&self, place: &Place<'_>, secret: &[u8]) -> Result<Vec<u8>> {
        let mut data_key = Zeroizing::new([0_u8; KEY_BYTES]);
        let mut nonces = [0_u8; NONCE_BYTES * 2];
        getrandom::fill(data_key.as_mut()).map_err(|error| Error::internal("randomness", error))?;
        getrandom::fill(&mut nonces).map_err(|error| Error::internal("randomness", error))?;
        let (key_nonce, secret_nonce) = nonces.split_at(NONCE_BYTES);
        let place = place.bytes();
        let mut sealed = Vec::with_capacity(HEADER_BYTES + secret.len() + TAG_BYTES);
        sealed.push(VERSION);
        sealed.extend_from_slice(key_nonce);
        sealed.extend(seal_layer(&self.0, key_nonce, data_key.as_ref(), &place)?);
        sealed.extend_from_slice(secret_nonce);
        sealed.extend(seal_layer(&data_key, secret_nonce, secret, &place)?);
        Ok(sealed)
    }

    /// Opens what [`MasterKey::seal`] sealed for the same place.
    pub fn open(&self, place: &Place<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let broken = || Error::bug(format!("a sealed secret of {} does not open", place.table));
        if sealed.len() < HEADER_BYTES + TAG_BYTES || sealed[0] != VERSION {
            return Err(broken());
        }
        let (key_nonce, rest) = sealed[1..].split_at(NONCE_BYTES);
        let (sealed_key, rest) = rest.split_at(KEY_BYTES + TAG_BYTES);
        let (secret_nonce, sealed_secret) = rest.split_at(NONCE_BYTES);
        let place_bytes = place.bytes();
        let opened = Zeroizing::new(open_layer(&self.0, key_nonce, sealed_key, &place_bytes).ok_or_else(broken)?);
        let mut data_key = Zeroizing::new([0_u8; KEY_BYTES]);
        data_key.copy_from_slice(&opened);
        open_layer(&data_key, secret_nonce, sealed_secret, &place_bytes).map(Zeroizing::new).ok_or_else(broken)
    }
}

fn cipher(key: &[u8; KEY_BYTES]) -> Aes256Gcm {
    Aes256Gcm::new(&Key::<Aes256Gcm>::from(*key))
}

fn nonce(bytes: &[u8]) -> Option<Nonce<aes_gcm::aead::consts::U12>> {
    <[u8; NONCE_BYTES]>::try_from(bytes).ok().map(Into::into)
}

fn seal_layer(key: &[u8; KEY_BYTES], nonce_bytes: &[u8], secret: &[u8], place: &[u8]) -> Result<Vec<u8>> {
    nonce(nonce_bytes)
        .and_then(|nonce| cipher(key).encrypt(&nonce, Payload { msg: secret, aad: place }).ok())
        .ok_or_else(|| Error::bug("a secret could not be sealed"))
}

fn open_layer(key: &[u8; KEY_BYTES], nonce_bytes: &[u8], sealed: &[u8], place: &[u8]) -> Option<Vec<u8>> {
    nonce(nonce_bytes).and_then(|nonce| cipher(key).decrypt(&nonce, Payload { msg: sealed, aad: place }).ok())
}

#[cfg(test)]
mod tests {
    use parlance_domain::{Ids, Timestamp};

    use super::*;

    fn tenant(millis: i64) -> Tenant {
        Tenant::authenticated(Ids.next(Timestamp::from_millis(millis)))
    }

    #[test]
    fn a_secret_opens_only_where_it_was_sealed() {
        let folder = tempfile::tempdir().unwrap();
        let key = MasterKey::load_or_create(&folder.path().join("master.key")).unwrap();
        let place = Place { tenant: tenant(1), table: "model_providers", row: "a", column: "api_key" };
        let sealed = key.seal(&place, b"sk-canary").unwrap();
        assert!(!sealed.windows(9).any(|window| window == b"sk-canary"));
        assert_eq!(key.open(&place, &sealed).unwrap().as_slice(), b"sk-canary");
        for other in [
            Place { tenant: tenant(2), ..place },
            Place { row: "b", ..place },
            Place { table: "tools", ..place },
            Place { column: "header", ..place },
        ] {
            assert!(key.open(&other, &sealed).is_err(), "opened at {other:?}");
        }
        let again = MasterKey::load_or_create(&folder.path().join("master.key")).unwrap();
        assert_eq!(again.open(&place, &sealed).unwrap().as_slice(), b"sk-canary");
    }

    #[test]
    fn damaged_values_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let key = MasterKey::load_or_create(&folder.path().join("master.key")).unwrap();
        let place = Place { tenant: tenant(1), table: "model_providers", row: "a", column: "api_key" };
        let sealed = key.seal(&place, b"secret").unwrap();
        for position in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[position] ^= 1;
            assert!(key.open(&place, &damaged).is_err(), "byte {position}");
        }
        assert!(key.open(&place, &[]).is_err());
    }
}
