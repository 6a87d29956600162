//! Making a backup, also while a server runs on the data folder.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use parlance_domain::{Clock, SystemClock};
use parlance_storage::blobs::Blobs;
use parlance_storage::secrets::MasterKey;
use parlance_storage::snapshot::{self, DatabaseCopy};

use super::{
    BLOBS, DATABASE, ExposeSecret, FORMAT, KeyArguments, MANIFEST, Manifest, SEALED_KEY, SUMS, SecretString,
    copy_hashed, flush, hash_of, hash_of_text, make_folder, new_file, sqlite_path,
};
use crate::config::Config;
use crate::wiring;

/// What to back up where.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArguments {
    /// Folder to make; it appears under its name when all of it is on disk.
    #[arg(long)]
    to: PathBuf,
    #[command(flatten)]
    key: KeyArguments,
}

/// Makes a backup. Gives what to print.
pub(crate) async fn make(config: &Config, data: &Path, arguments: BackupArguments) -> Result<String> {
    let database = sqlite_path(&wiring::database_url(config, data))?;
    ensure!(database.is_file(), "there is no database at {}, so there is nothing to back up", database.display());
    let passphrase = arguments.key.passphrase()?;
    let target = arguments.to;
    ensure!(!target.exists(), "{} exists; name a folder that does not", target.display());
    let name = target.file_name().context("--to names no folder")?;
    let mut unfinished_name = name.to_owned();
    unfinished_name.push(".unfinished");
    let unfinished = target.with_file_name(unfinished_name);
    ensure!(
        !unfinished.exists(),
        "{} was left by a backup that did not come to its end, or one is being made; remove it if none is",
        unfinished.display()
    );
    make_folder(&unfinished).with_context(|| format!("making {}", unfinished.display()))?;
    let written = fill(data, &database, passphrase.as_ref(), &unfinished).await;
    let finished = written.and_then(|(manifest, missing)| {
        publish(&unfinished, &target)?;
        Ok((manifest, missing))
    });
    match finished {
        Ok((manifest, missing)) => Ok(summary(&target, &manifest, missing, passphrase.is_some())),
        Err(error) => {
            if let Err(left) = std::fs::remove_dir_all(&unfinished) {
                tracing::warn!(error = %left, folder = %unfinished.display(), "an unfinished backup is left");
            }
            Err(error)
        }
    }
}

fn summary(target: &Path, manifest: &Manifest, missing: u64, has_key: bool) -> String {
    let mut text = format!(
        "{}: {} files, {} bytes, schema {}, {} the master key\n",
        target.display(),
        manifest.files,
        manifest.bytes,
        manifest.schema,
        if has_key { "with" } else { "without" }
    );
    if missing > 0 {
        let note = format!("{missing} stored files were deleted while the backup was made and are not in it.\n");
        text.push_str(&note);
    }
    text
}

/// Writes all of a backup into an empty folder. Gives the manifest, and how many stored files that the
/// database names were not there any more.
async fn fill(
    data: &Path,
    database: &Path,
    passphrase: Option<&SecretString>,
    folder: &Path,
) -> Result<(Manifest, u64)> {
    let mut list = List::default();
    // The key first: without it the rest is not begun.
    if let Some(passphrase) = passphrase {
        let path = data.join("master.key");
        ensure!(path.is_file(), "there is no master key at {}", path.display());
        let key = MasterKey::load_or_create(&path).with_context(|| format!("reading {}", path.display()))?;
        let sealed = key.seal_with(passphrase.expose_secret())?;
        new_file(&folder.join(SEALED_KEY))?.write_all(&sealed).context("writing the sealed master key")?;
        list.add_file(folder, SEALED_KEY)?;
    }
    let copied = folder.join(DATABASE);
    snapshot::copy_in_use(database, &copied).await.context("copying the database")?;
    std::fs::set_permissions(&copied, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    list.add_file(folder, DATABASE)?;

    let mut copy = DatabaseCopy::open(&copied).await?;
    let schema = copy.schema().await?;
    let mut missing = 0;
    let mut after = String::new();
    loop {
        let keys = copy.blob_keys(&after).await?;
        let Some(end) = keys.last() else { break };
        after.clone_from(end);
        let (from, to) = (data.join(BLOBS), folder.join(BLOBS));
        let copied = tokio::task::spawn_blocking(move || copy_blobs(&from, &to, &keys)).await??;
        missing += copied.missing;
        list.append(&copied);
    }
    copy.close().await?;

    std::fs::write(folder.join(SUMS), &list.text).context("writing the list of files")?;
    let manifest = Manifest {
        format: FORMAT,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        schema,
        made_at: SystemClock.now().millis(),
        files: list.files,
        bytes: list.bytes,
        sums: hash_of_text(&list.text),
    };
    let json = serde_json::to_string_pretty(&manifest).context("writing the manifest")?;
    std::fs::write(folder.join(MANIFEST), json + "\n").context("writing the manifest")?;
    Ok((manifest, missing))
}

/// The list of files, in the form of `sha256sum`.
#[derive(Debug, Default)]
struct List {
    text: String,
    files: u64,
    bytes: u64,
    /// Stored files that were not there.
    missing: u64,
}

impl List {
    fn add(&mut self, path: &str, (hash, bytes): (String, u64)) {
        for part in [hash.as_str(), "  ", path, "\n"] {
            self.text.push_str(part);
        }
        self.files += 1;
        self.bytes += bytes;
    }

    fn add_file(&mut self, folder: &Path, path: &str) -> Result<()> {
        self.add(path, hash_of(&folder.join(path)).with_context(|| format!("reading {path}"))?);
        Ok(())
    }

    fn append(&mut self, other: &Self) {
        self.text.push_str(&other.text);
        self.files += other.files;
        self.bytes += other.bytes;
    }
}

/// Copies stored bytes. They never change under their key, so a running server is no trouble; those of
/// a file that was deleted since the database was copied may be gone.
fn copy_blobs(from: &Path, to: &Path, keys: &[String]) -> Result<List> {
    let mut list = List::default();
    for key in keys {
        let (Some(source), Some(target)) = (Blobs::path_in(from, key), Blobs::path_in(to, key)) else { continue };
        let mut source = match File::open(&source) {
            Ok(source) => source,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                list.missing += 1;
                continue;
            }
            Err(error) => return Err(error).with_context(|| format!("reading {}", source.display())),
        };
        let copy = || {
            make_folder(target.parent().unwrap_or(to))?;
            let mut target = BufWriter::new(new_file(&target)?);
            let copied = copy_hashed(&mut source, &mut target)?;
            target.flush()?;
            Ok::<_, std::io::Error>(copied)
        };
        list.add(
            &format!("{BLOBS}/files/{key}"),
            { copy }().with_context(|| format!("copying the stored file {key}"))?,
        );
    }
    Ok(list)
}

/// Gives a complete backup its name.
fn publish(unfinished: &Path, target: &Path) -> Result<()> {
    flush(unfinished)?;
    std::fs::rename(unfinished, target).with_context(|| format!("naming {}", target.display()))?;
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all().with_context(|| format!("flushing {}", parent.display()))
}
