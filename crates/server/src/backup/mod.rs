//! `parlance backup` and `parlance restore`: a folder with the database, the stored bytes and, if
//! wanted, the master key sealed with a passphrase.
//!
//! The folder holds `manifest.json`, `SHA256SUMS` in the form that `sha256sum -c` reads, and the files
//! it lists: `parlance.db`, `blobs/files/...` and `master.key.sealed`. The manifest is written last
//! and names the hash of the list.

mod make;
mod restore;

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use parlance_storage::blobs::Blobs;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub(crate) use make::{BackupArguments, make};
pub(crate) use restore::{RestoreArguments, restore};

/// The variable that names the file of the passphrase when no option does.
const PASSPHRASE_FILE: &str = "PARLANCE_BACKUP_PASSPHRASE_FILE";
/// A shorter passphrase is guessed.
const SHORTEST_PASSPHRASE: usize = 12;
/// Version of the folder's form.
const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
const SUMS: &str = "SHA256SUMS";
const DATABASE: &str = "parlance.db";
const SEALED_KEY: &str = "master.key.sealed";
/// Where stored bytes are, in the data folder and in a backup.
const BLOBS: &str = "blobs";
const POSTGRES: &str = "this installation uses PostgreSQL, which has a tool of its own: \
    PGOPTIONS='-c parlance.organisation=*' pg_dump --enable-row-security -Fc -f parlance.dump \"$URL\", then copy \
    blobs/files and master.key; docs/DATABASES.md has the way back";

/// How the master key goes into a backup and out of it.
#[derive(Debug, clap::Args)]
pub(crate) struct KeyArguments {
    /// File with the passphrase for the master key; `PARLANCE_BACKUP_PASSPHRASE_FILE` names it too.
    #[arg(long, conflicts_with = "without_master_key")]
    passphrase_file: Option<PathBuf>,
    /// Leave the master key out: providers' keys then have to be entered again after a restore.
    #[arg(long)]
    without_master_key: bool,
}

impl KeyArguments {
    /// The passphrase; `None` when the master key is to be left out.
    fn passphrase(&self) -> Result<Option<SecretString>> {
        if self.without_master_key {
            return Ok(None);
        }
        let variable = || {
            let set = crate::config::environment().find(|(name, value)| name == PASSPHRASE_FILE && !value.is_empty());
            set.map(|(_, value)| PathBuf::from(value))
        };
        let Some(path) = self.passphrase_file.clone().or_else(variable) else {
            bail!(
                "the master key is sealed with a passphrase: name a file that holds it with --passphrase-file or \
                 {PASSPHRASE_FILE}, or leave the key out with --without-master-key"
            )
        };
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let passphrase = text.trim_end_matches(['\r', '\n']);
        ensure!(
            passphrase.chars().count() >= SHORTEST_PASSPHRASE,
            "the passphrase in {} has fewer than {SHORTEST_PASSPHRASE} characters",
            path.display()
        );
        Ok(Some(SecretString::from(passphrase)))
    }
}

/// What a backup says of itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    format: u32,
    /// Version of the program that made it.
    program: String,
    /// Version of the database's schema.
    schema: i64,
    /// Milliseconds since 1970, UTC.
    made_at: i64,
    /// Files in the list.
    files: u64,
    /// Their bytes.
    bytes: u64,
    /// SHA-256 of the list, in hexadecimal digits.
    sums: String,
}

/// Where a file of a backup may stand: nothing else is read from one or written by one.
fn is_known_place(path: &str) -> bool {
    let is_blob = || path.strip_prefix("blobs/files/").is_some_and(|key| Blobs::path_in(Path::new(""), key).is_some());
    matches!(path, DATABASE | SEALED_KEY) || is_blob()
}

/// The file of a SQLite database's address.
fn sqlite_path(url: &str) -> Result<PathBuf> {
    url.strip_prefix("sqlite:").map(PathBuf::from).context(POSTGRES)
}

/// Reads all of a file. Gives its hash in hexadecimal digits and its bytes.
fn hash_of(path: &Path) -> std::io::Result<(String, u64)> {
    copy_hashed(&mut File::open(path)?, &mut std::io::sink())
}

/// Copies everything, and gives its hash in hexadecimal digits and how many bytes it was.
fn copy_hashed(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<(String, u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut bytes = 0;
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok((hex::encode(hasher.finalize()), bytes));
        }
        hasher.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
        bytes += read as u64;
    }
}

/// The SHA-256 of a text, in hexadecimal digits.
fn hash_of_text(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// Makes a file that is not there yet, readable by its owner only.
fn new_file(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes a folder and those above it, for its owner only; one that is there is fine.
fn make_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Puts everything below a folder on the disk.
fn flush(folder: &Path) -> Result<()> {
    let opened = File::open(folder).with_context(|| format!("opening {}", folder.display()))?;
    rustix::fs::syncfs(&opened).with_context(|| format!("flushing {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_reaches_no_other_place() {
        for path in ["parlance.db", "master.key.sealed", "blobs/files/media/uploads/0199.pdf"] {
            assert!(is_known_place(path), "{path}");
        }
        for path in
            ["", "master.key", "../parlance.db", "/etc/passwd", "blobs/files/../../x", "blobs/files/", "blobs/x", "a b"]
        {
            assert!(!is_known_place(path), "{path}");
        }
    }
}
