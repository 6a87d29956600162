//! The master key as it stands in a backup: sealed with a key made of a passphrase.
//!
//! Layout: mark (4 bytes) · memory in KiB, passes, lanes (4 each, little endian) · salt (16) ·
//! nonce (12) · sealed key (32 + 16). All that stands before the sealed key is authenticated with it.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use argon2::{Algorithm, Argon2, Params, Version};
use parlance_domain::{Error, Result};
use zeroize::Zeroizing;

use crate::secrets::{KEY_BYTES, MasterKey, NONCE_BYTES, TAG_BYTES};

const MARK: &[u8; 4] = b"PMK1";
const SALT_BYTES: usize = 16;
const COSTS_END: usize = MARK.len() + 3 * 4;
const SALT_END: usize = COSTS_END + SALT_BYTES;
const HEADER_BYTES: usize = SALT_END + NONCE_BYTES;

/// What a guess at the passphrase costs (Argon2id).
#[derive(Clone, Copy, Debug)]
struct Costs {
    /// KiB.
    memory: u32,
    passes: u32,
    lanes: u32,
}

/// About a tenth of a second on a present-day processor.
const COSTS: Costs = Costs { memory: 64 << 10, passes: 3, lanes: 1 };
/// A file that asks for more than this was not made by us.
const MOST: Costs = Costs { memory: 1 << 20, passes: 64, lanes: 16 };

impl MasterKey {
    /// The key, sealed with a passphrase.
    pub fn seal_with(&self, passphrase: &str) -> Result<Vec<u8>> {
        let mut sealed = Vec::with_capacity(HEADER_BYTES + KEY_BYTES + TAG_BYTES);
        sealed.extend_from_slice(MARK);
        for cost in [COSTS.memory, COSTS.passes, COSTS.lanes] {
            sealed.extend_from_slice(&cost.to_le_bytes());
        }
        let mut random = [0_u8; SALT_BYTES + NONCE_BYTES];
        getrandom::fill(&mut random).map_err(|error| Error::internal("randomness", error))?;
        sealed.extend_from_slice(&random);
        let (salt, nonce) = random.split_at(SALT_BYTES);
        let nonce = Nonce::try_from(nonce).map_err(|error| Error::internal("a nonce", error))?;
        let payload = Payload { msg: self.0.as_ref(), aad: &sealed };
        let body = cipher(passphrase, salt, COSTS)?
            .encrypt(&nonce, payload)
            .map_err(|error| Error::bug(format!("sealing the master key: {error}")))?;
        sealed.extend(body);
        Ok(sealed)
    }

    /// The key that [`MasterKey::seal_with`] sealed. `None` when the passphrase is another one or the
    /// bytes are damaged.
    pub fn open_with(sealed: &[u8], passphrase: &str) -> Result<Option<Self>> {
        let number = |at: usize| {
            let bytes = sealed.get(MARK.len() + at * 4..)?.first_chunk::<4>()?;
            Some(u32::from_le_bytes(*bytes))
        };
        let (Some(memory), Some(passes), Some(lanes)) = (number(0), number(1), number(2)) else { return Ok(None) };
        let is_ours = sealed.starts_with(MARK)
            && sealed.len() == HEADER_BYTES + KEY_BYTES + TAG_BYTES
            && memory <= MOST.memory
            && passes <= MOST.passes
            && lanes <= MOST.lanes;
        if !is_ours {
            return Ok(None);
        }
        let (header, body) = sealed.split_at(HEADER_BYTES);
        let nonce = Nonce::try_from(&header[SALT_END..]).map_err(|error| Error::internal("a nonce", error))?;
        let Ok(cipher) = cipher(passphrase, &header[COSTS_END..SALT_END], Costs { memory, passes, lanes }) else {
            return Ok(None);
        };
        let opened = cipher.decrypt(&nonce, Payload { msg: body, aad: header }).ok().map(Zeroizing::new);
        Ok(opened.and_then(|key| <[u8; KEY_BYTES]>::try_from(key.as_slice()).ok()).map(|key| Self(Zeroizing::new(key))))
    }

    /// Writes the key to a file that must not exist: readable by its owner only, flushed to disk.
    pub fn write_new(&self, path: &Path) -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(self.0.as_ref())?;
        file.sync_all()
    }
}

fn cipher(passphrase: &str, salt: &[u8], costs: Costs) -> Result<Aes256Gcm> {
    let wrong = |error: argon2::Error| Error::bug(format!("making a key of a passphrase: {error}"));
    let params = Params::new(costs.memory, costs.passes, costs.lanes, Some(KEY_BYTES)).map_err(wrong)?;
    let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, key.as_mut())
        .map_err(wrong)?;
    Ok(Aes256Gcm::new(&Key::<Aes256Gcm>::from(*key)))
}

#[cfg(test)]
mod tests {
    use parlance_domain::{Id, Tenant};

    use super::*;
    use crate::secrets::Place;

    #[test]
    fn the_passphrase_opens_the_key_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let key = MasterKey::load_or_create(&folder.path().join("master.key")).unwrap();
        let tenant = Tenant::authenticated(Id::from_uuid(uuid::Uuid::from_u128(1)));
        let place = Place { tenant, table: "model_providers", row: "a", column: "api_key" };
        let secret = key.seal(&place, b"sk-canary").unwrap();

        let sealed = key.seal_with("correct horse battery").unwrap();
        let opened = MasterKey::open_with(&sealed, "correct horse battery").unwrap().unwrap();
        assert_eq!(opened.open(&place, &secret).unwrap().as_slice(), b"sk-canary");
        let again = folder.path().join("again.key");
        opened.write_new(&again).unwrap();
        assert!(opened.write_new(&again).is_err(), "never over another key");
        assert_eq!(std::fs::read(&again).unwrap(), std::fs::read(folder.path().join("master.key")).unwrap());

        assert!(MasterKey::open_with(&sealed, "correct horse batterz").unwrap().is_none());
        assert!(MasterKey::open_with(&sealed, "").unwrap().is_none());
        for length in [0, 3, HEADER_BYTES, sealed.len() - 1] {
            assert!(MasterKey::open_with(&sealed[..length], "correct horse battery").unwrap().is_none(), "{length}");
        }
        // A byte of the mark, the costs, the salt, the nonce, the key and the tag.
        for position in [0, 4, 11, 12, COSTS_END, SALT_END, HEADER_BYTES, sealed.len() - 1] {
            let mut damaged = sealed.clone();
            damaged[position] ^= 1;
            assert!(MasterKey::open_with(&damaged, "correct horse battery").unwrap().is_none(), "byte {position}");
        }
    }
}
