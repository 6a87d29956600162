//! Restoring a backup into an empty data folder.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use parlance_storage::secrets::MasterKey;
use parlance_storage::snapshot;

use super::{
    DATABASE, ExposeSecret, FORMAT, KeyArguments, MANIFEST, Manifest, SEALED_KEY, SUMS, copy_hashed, flush, hash_of,
    hash_of_text, is_known_place, make_folder, new_file, sqlite_path,
};
use crate::config::Config;
use crate::wiring;

/// What to restore from where.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArguments {
    /// Folder that `parlance backup` made.
    #[arg(long)]
    from: PathBuf,
    #[command(flatten)]
    key: KeyArguments,
}

/// A file of a backup: where it stands, and its hash.
struct Entry {
    path: String,
    hash: String,
}

/// Restores a backup. Nothing is written before all of it was checked. Gives what to print.
pub(crate) async fn restore(config: &Config, data: &Path, arguments: RestoreArguments) -> Result<String> {
    let database = sqlite_path(&wiring::database_url(config, data))?;
    ensure_nothing_is_there(data, &database)?;
    let from = arguments.from;
    let key = arguments.key;
    let data = data.to_owned();
    tokio::task::spawn_blocking(move || {
        let (manifest, entries) = check(&from)?;
        let master_key = open_master_key(&from, &entries, &key)?;
        let held = wiring::hold_data_dir(&data)?;
        write(&from, &entries, &data, &database, master_key.as_ref())?;
        drop(held);
        let with = if master_key.is_some() { "with" } else { "without" };
        Ok(format!(
            "{}: {} files restored, {with} the master key; the search index is made again at the next start\n",
            data.display(),
            manifest.files
        ))
    })
    .await?
}

fn ensure_nothing_is_there(data: &Path, database: &Path) -> Result<()> {
    let mut entries = std::fs::read_dir(data).with_context(|| format!("reading {}", data.display()))?;
    ensure!(
        entries.next().is_none(),
        "{} is not empty; a backup is restored into an empty data folder (what an interrupted restore left may be \
         removed)",
        data.display()
    );
    ensure!(!database.exists(), "there is a database at {} already", database.display());
    Ok(())
}

/// Reads the manifest and the list, and compares every file with its hash.
fn check(from: &Path) -> Result<(Manifest, Vec<Entry>)> {
    let read = |name: &str| {
        let path = from.join(name);
        std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}; is this a complete backup?", path.display()))
    };
    let manifest: Manifest = serde_json::from_str(&read(MANIFEST)?).context("the manifest is damaged")?;
    ensure!(
        manifest.format == FORMAT && manifest.schema <= snapshot::known_schema(),
        "this backup was made by a newer release ({}, schema {}; this one knows {}); restore it with that release",
        manifest.program,
        manifest.schema,
        snapshot::known_schema()
    );
    let sums = read(SUMS)?;
    ensure!(hash_of_text(&sums) == manifest.sums, "{SUMS} is not the list that the manifest was made for");
    let mut entries = Vec::new();
    let mut bytes = 0;
    for line in sums.lines() {
        let (hash, path) = line.split_once("  ").with_context(|| format!("{SUMS} is damaged"))?;
        ensure!(is_known_place(path), "{SUMS} names {path:?}, which no backup holds");
        let file = from.join(path);
        let (found, size) = hash_of(&file).with_context(|| format!("reading {}", file.display()))?;
        ensure!(found == hash, "{path} is damaged: it does not have the checksum it was backed up with");
        bytes += size;
        entries.push(Entry { path: path.to_owned(), hash: hash.to_owned() });
    }
    let complete = entries.len() as u64 == manifest.files && bytes == manifest.bytes;
    ensure!(complete, "{SUMS} does not list what the manifest says");
    ensure!(entries.iter().any(|entry| entry.path == DATABASE), "the backup holds no database");
    Ok((manifest, entries))
}

fn open_master_key(from: &Path, entries: &[Entry], key: &KeyArguments) -> Result<Option<MasterKey>> {
    let is_there = entries.iter().any(|entry| entry.path == SEALED_KEY);
    if !is_there {
        ensure!(
            key.without_master_key,
            "this backup holds no master key: put the file master.key in its place after the restore, or enter \
             providers' keys again; say --without-master-key to go on"
        );
        return Ok(None);
    }
    let Some(passphrase) = key.passphrase()? else { return Ok(None) };
    let sealed = std::fs::read(from.join(SEALED_KEY)).context("reading the sealed master key")?;
    let opened = MasterKey::open_with(&sealed, passphrase.expose_secret())?;
    opened.context("the passphrase does not open this backup's master key").map(Some)
}

/// Copies the files to their places; the database last, under its name when it is complete.
fn write(from: &Path, entries: &[Entry], data: &Path, database: &Path, master_key: Option<&MasterKey>) -> Result<()> {
    if let Some(key) = master_key {
        key.write_new(&data.join("master.key")).context("writing the master key")?;
    }
    for entry in entries.iter().filter(|entry| !matches!(entry.path.as_str(), DATABASE | SEALED_KEY)) {
        copy(from, entry, &data.join(&entry.path))?;
    }
    let unfinished = database.with_extension("unfinished");
    for entry in entries.iter().filter(|entry| entry.path == DATABASE) {
        copy(from, entry, &unfinished)?;
    }
    flush(data)?;
    File::open(&unfinished)?.sync_all().context("flushing the database")?;
    std::fs::rename(&unfinished, database).with_context(|| format!("naming {}", database.display()))?;
    flush(data)
}

fn copy(from: &Path, entry: &Entry, target: &Path) -> Result<()> {
    let copy = || {
        if let Some(folder) = target.parent() {
            make_folder(folder)?;
        }
        let mut writer = BufWriter::new(new_file(target)?);
        let copied = copy_hashed(&mut File::open(from.join(&entry.path))?, &mut writer)?;
        writer.flush()?;
        Ok::<_, std::io::Error>(copied)
    };
    let (hash, _) = { copy }().with_context(|| format!("writing {}", target.display()))?;
    ensure!(hash == entry.hash, "{} changed while it was restored", entry.path);
    Ok(())
}
