//! What lasts of certificates: a folder for each directory, with its account, certificates and when
//! each was last asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use parlance_domain::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

use super::certificates::Certificate;

const ACCOUNT: &str = "account.json";
const ATTEMPTS: &str = "attempts.json";
const CERTIFICATES: &str = "certificates";
/// A domain that is verified again within this time finds the certificate that it had.
const KEPT_FOR: Duration = Duration::from_hours(90 * 24);

/// The account at a directory.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredAccount {
    /// The contact that the directory was told.
    pub(crate) contact: String,
    /// Key and address.
    pub(crate) credentials: instant_acme::AccountCredentials,
}

/// When certificates were asked for, by name.
pub(crate) type Attempts = BTreeMap<String, Attempt>;

/// The last time that a certificate was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    /// When it began.
    pub(crate) at: Timestamp,
    /// How many have failed since the last that did not, this one included until it has succeeded.
    pub(crate) failures: u32,
}

/// A folder for one directory. All of it is readable by its owner only.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    folder: PathBuf,
}

impl Store {
    /// Opens the folder of a directory below that of the data.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn open(data: &Path, directory: &Url) -> Result<Self> {
        // The name is for people, the digits tell directories of one host apart.
        let digest = hex::encode(Sha256::digest(directory.as_str().as_bytes()));
        let host = directory.host_str().unwrap_or_default().replace([':', '[', ']'], "_");
        let folder = data.join("tls").join(format!("{host}-{}", &digest[..8]));
        let certificates = folder.join(CERTIFICATES);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&certificates)
            .with_context(|| format!("making {}", certificates.display()))?;
        Ok(Self { folder })
    }

    /// The account, if there is one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn account(&self) -> Result<Option<StoredAccount>> {
        self.read_json(ACCOUNT)
    }

    /// Keeps the account.
    ///
    /// # Errors
    /// When it is not on the disk afterwards.
    pub(crate) fn save_account(&self, account: &StoredAccount) -> Result<()> {
        self.write(ACCOUNT, &serde_json::to_vec_pretty(account)?)
    }

    /// Forgets an account that the directory does not know any more.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub(crate) fn forget_account(&self) -> Result<()> {
        match std::fs::remove_file(self.folder.join(ACCOUNT)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("removing the account"),
            _ => Ok(()),
        }
    }

    /// When certificates were asked for.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn attempts(&self) -> Result<Attempts> {
        Ok(self.read_json(ATTEMPTS)?.unwrap_or_default())
    }

    /// Keeps when certificates were asked for.
    ///
    /// # Errors
    /// When it is not on the disk afterwards.
    pub(crate) fn save_attempts(&self, attempts: &Attempts) -> Result<()> {
        self.write(ATTEMPTS, &serde_json::to_vec_pretty(attempts)?)
    }

    /// The certificate of a name, if there is one.
    ///
    /// # Errors
    /// When its file is damaged or for another name.
    pub(crate) fn certificate(&self, name: &str) -> Result<Option<Certificate>> {
        let path = self.folder.join(certificate_file(name)?);
        let Some(text) = read(&path)? else { return Ok(None) };
        let parse = || -> Result<Option<Certificate>> {
            let certificate = Certificate::read(&text, &text)?;
            certificate.check_name(name)?;
            Ok(Some(certificate))
        };
        parse().with_context(|| format!("reading {}", path.display()))
    }

    /// Keeps the key and the certificates of a name, both as PEM.
    ///
    /// # Errors
    /// When they are not on the disk afterwards.
    pub(crate) fn save_certificate(&self, name: &str, text: &str) -> Result<()> {
        self.write(&certificate_file(name)?, text.as_bytes())
    }

    /// Removes certificates of names that nobody wants any more, after a while.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) fn remove_unwanted(&self, is_wanted: impl Fn(&str) -> bool) -> Result<()> {
        let folder = self.folder.join(CERTIFICATES);
        for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let entry = entry?;
            let name = entry.file_name();
            let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
            if age > KEPT_FOR && !name.to_str().is_some_and(&is_wanted) {
                std::fs::remove_file(entry.path()).with_context(|| format!("removing {}", entry.path().display()))?;
            }
        }
        Ok(())
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = self.folder.join(name);
        let Some(text) = read(&path)? else { return Ok(None) };
        serde_json::from_slice(&text).map(Some).with_context(|| {
            format!("{} is damaged; remove it, and an account or certificates are asked for anew", path.display())
        })
    }

    /// Replaces a file at once and durably.
    fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.folder.join(name);
        let unfinished = self.folder.join("unfinished");
        let write = || {
            // One of a process that was killed is in the way.
            match std::fs::remove_file(&unfinished) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(&unfinished)?;
            file.write_all(content)?;
            file.sync_all()?;
            std::fs::rename(&unfinished, &path)?;
            File::open(path.parent().unwrap_or(&self.folder))?.sync_all()
        };
        write().with_context(|| format!("writing {}", path.display()))
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// Where the certificate of a name is. The names come from a table, but what is no name is no path.
fn certificate_file(name: &str) -> Result<String> {
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    ensure!(is_name && !name.starts_with('.') && !name.is_empty(), "{name:?} is no host name");
    // A file name has 255 bytes at most, a host name 253.
    Ok(format!("{CERTIFICATES}/{name}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn pem(name: &str) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2026, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2026, 4, 1);
        format!("{}{}", key.serialize_pem(), parameters.self_signed(&key).unwrap().pem())
    }

    #[test]
    fn certificates_last_and_are_for_their_owner_only() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let data = tempfile::tempdir().unwrap();
        let url = |text: &str| Url::parse(text).unwrap();
        let store = Store::open(data.path(), &url("https://[::1]:14000/dir")).unwrap();
        assert!(store.certificate("a.example").unwrap().is_none());
        for _ in 0..2 {
            store.save_certificate("a.example", &pem("a.example")).unwrap();
        }
        let read = store.certificate("a.example").unwrap().unwrap();
        // Sixty of ninety days after the first of January.
        assert_eq!(read.renew_at, Timestamp::from_millis(1_772_409_600_000));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&store.folder.join("certificates/a.example")), 0o600);
        assert_eq!((mode(&store.folder), mode(store.folder.parent().unwrap())), (0o700, 0o700));
        store.remove_unwanted(|_name| false).unwrap();
        assert!(store.certificate("a.example").unwrap().is_some(), "it may be wanted again");

        let other = Store::open(data.path(), &url("https://[::1]:14000/other")).unwrap();
        assert!(other.certificate("a.example").unwrap().is_none(), "another directory, other certificates");
    }

    #[test]
    fn what_is_damaged_or_of_another_name_is_refused() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path(), &Url::parse("https://ca.example/dir").unwrap()).unwrap();
        store.save_certificate("b.example", &pem("a.example")).unwrap();
        let error = store.certificate("b.example").unwrap_err();
        assert!(format!("{error:#}").contains("another name"), "{error:#}");
        let two_keys = pem("a.example").replacen("CERTIFICATE", "NOTHING", 2) + &pem("a.example");
        store.save_certificate("a.example", &two_keys).unwrap();
        assert!(store.certificate("a.example").is_err(), "the key is another one's");
        store.save_certificate("a.example", "nothing").unwrap();
        assert!(store.certificate("a.example").is_err());
        for name in ["", ".", "..", "../account.json", "a/b", "a.example/../../x"] {
            assert!(store.certificate(name).is_err() && store.save_certificate(name, "x").is_err(), "{name}");
        }
        store.write(ATTEMPTS, b"{").unwrap();
        assert!(format!("{:#}", store.attempts().unwrap_err()).contains("remove it"));
    }
}
