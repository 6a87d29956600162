//! Bytes of uploads and files, in a folder. Keys are made by the product, never taken from a name.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parlance_domain::{Error, Result, Timestamp};
use tokio::fs;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

/// Keys that are listed at once.
const SLICE: usize = 500;

/// A folder of blobs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Blobs {
    root: PathBuf,
}

/// Bytes being written; nothing is visible under the key before [`Incoming::publish`].
#[derive(Debug)]
pub struct Incoming {
    file: fs::File,
    temporary: PathBuf,
    written: u64,
    /// Whether the temporary file is still there.
    is_pending: bool,
}

impl Blobs {
    /// Uses `root`, which is made when it does not exist; what an earlier process left half written
    /// there is removed.
    pub async fn open(root: &Path) -> Result<Self> {
        let blobs = Self { root: root.to_owned() };
        let incoming = blobs.incoming_folder();
        if fs::try_exists(&incoming).await.unwrap_or(false) {
            fs::remove_dir_all(&incoming).await.map_err(|error| failure("clearing the blob folder", error))?;
        }
        fs::create_dir_all(&incoming).await.map_err(|error| failure("making the blob folder", error))?;
        Ok(blobs)
    }

    fn incoming_folder(&self) -> PathBuf {
        self.root.join("incoming")
    }

    /// The file of a key, or `None` for what is not one of our keys: parts of letters, digits, `-`,
    /// `_` and inner dots, joined by `/`.
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        Self::path_in(&self.root, key)
    }

    /// [`Blobs::path`] in a folder of blobs that another process may be using.
    pub fn path_in(root: &Path, key: &str) -> Option<PathBuf> {
        let is_part = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        };
        (key.len() <= 255 && key.split('/').all(is_part)).then(|| root.join("files").join(key))
    }

    /// Starts writing. `unique` names the temporary file.
    pub async fn incoming(&self, unique: &str) -> Result<Incoming> {
        let temporary = self.incoming_folder().join(unique);
        let file = fs::File::create_new(&temporary).await.map_err(|error| failure("starting an upload", error))?;
        Ok(Incoming { file, temporary, written: 0, is_pending: true })
    }

    /// Opens the bytes of a key. `None` when there are none.
    pub async fn open_file(&self, key: &str) -> Result<Option<fs::File>> {
        let Some(path) = self.path(key) else { return Ok(None) };
        match fs::File::open(path).await {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failure("opening a stored file", error)),
        }
    }

    /// All bytes of a key, at most `limit`. `None` when there are none.
    pub async fn read(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        use tokio::io::AsyncReadExt;
        let Some(file) = self.open_file(key).await? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).await.map_err(|error| failure("reading a stored file", error))?;
        Ok(Some(bytes))
    }

    /// Keys of bytes that were stored before `before`, in slices, while a blocking task looks for them.
    pub fn stored_before(&self, before: Timestamp) -> mpsc::Receiver<Vec<String>> {
        let (sender, slices) = mpsc::channel(1);
        let root = self.root.join("files");
        let before = UNIX_EPOCH + Duration::from_millis(u64::try_from(before.millis()).unwrap_or_default());
        tokio::task::spawn_blocking(move || {
            let mut slice = Vec::new();
            let walked = if root.is_dir() { walk(&root, &root, before, &mut slice, &sender) } else { Ok(()) };
            if let Err(error) = walked {
                tracing::warn!(%error, "the stored files could not all be listed");
            }
            // The last slice; nobody may be listening.
            drop(sender.blocking_send(slice));
        });
        slices
    }

    /// Removes the bytes of a key; none is fine.
    pub async fn remove(&self, key: &str) -> Result<()> {
        let Some(path) = self.path(key) else { return Ok(()) };
        match fs::remove_file(path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failure("removing a stored file", error)),
            _ => Ok(()),
        }
    }
}

impl Incoming {
    /// Adds bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).await.map_err(|error| failure("storing an upload", error))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Bytes so far.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Puts the bytes under their key: flushed to disk, file and folder, before this returns.
    ///
    /// # Errors
    /// [`Error::Conflict`] when there are bytes under the key, which stay as they are.
    pub async fn publish(mut self, blobs: &Blobs, key: &str) -> Result<()> {
        let published = self.try_publish(blobs, key).await;
        // Before the answer, whatever it is: who was refused has left nothing behind.
        self.remove_temporary().await;
        published
    }

    async fn try_publish(&mut self, blobs: &Blobs, key: &str) -> Result<()> {
        let target = blobs.path(key).ok_or_else(|| Error::bug(format!("{key:?} is no blob key")))?;
        let folder = target.parent().map(Path::to_owned).ok_or_else(|| Error::bug("a blob key without folder"))?;
        let storing = |error| failure("storing an upload", error);
        self.file.flush().await.map_err(storing)?;
        self.file.sync_all().await.map_err(storing)?;
        fs::create_dir_all(&folder).await.map_err(storing)?;
        // A link, because a rename would replace what is there.
        match fs::hard_link(&self.temporary, &target).await {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                // The same bytes again are a client that missed the first answer.
                if !have_same_bytes(self.temporary.clone(), target.clone()).await.map_err(storing)? {
                    return Err(Error::Conflict("this upload form was used already; ask for a new one".to_owned()));
                }
            }
            Err(error) => return Err(storing(error)),
        }
        for parent in folder.ancestors().take_while(|parent| parent.starts_with(&blobs.root)) {
            fs::File::open(parent).await.map_err(storing)?.sync_all().await.map_err(storing)?;
        }
        Ok(())
    }

    /// Throws the bytes away.
    pub async fn discard(mut self) {
        self.remove_temporary().await;
    }

    async fn remove_temporary(&mut self) {
        self.is_pending = false;
        if let Err(error) = fs::remove_file(&self.temporary).await {
            tracing::warn!(%error, "a temporary upload could not be removed");
        }
    }
}

impl Drop for Incoming {
    /// A request that ended early leaves nothing behind.
    fn drop(&mut self) {
        if !self.is_pending {
            return;
        }
        // Gone in a moment, but not free for a large file; outside of a runtime nobody is kept waiting.
        let temporary = std::mem::take(&mut self.temporary);
        let remove = move || {
            if let Err(error) = std::fs::remove_file(&temporary) {
                tracing::warn!(%error, "a temporary upload could not be removed");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_outside) => remove(),
        }
    }
}

/// Sends the keys of old files below `folder` in slices. Ends early when nobody listens any more.
fn walk(
    root: &Path,
    folder: &Path,
    before: SystemTime,
    slice: &mut Vec<String>,
    slices: &mpsc::Sender<Vec<String>>,
) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            walk(root, &entry.path(), before, slice, slices)?;
            continue;
        }
        let path = entry.path();
        let key = path.strip_prefix(root).ok().and_then(Path::to_str);
        if let Some(key) = key
            && metadata.is_file()
            && metadata.modified()? < before
        {
            slice.push(key.to_owned());
        }
        if slice.len() == SLICE && slices.blocking_send(std::mem::take(slice)).is_err() {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
    }
    Ok(())
}

/// Whether two files hold the same bytes.
async fn have_same_bytes(one: PathBuf, other: PathBuf) -> std::io::Result<bool> {
    let compare = move || {
        let (one, other) = (std::fs::File::open(one)?, std::fs::File::open(other)?);
        if one.metadata()?.len() != other.metadata()?.len() {
            return Ok(false);
        }
        let (mut one, mut other) = (BufReader::new(one), BufReader::new(other));
        loop {
            let (left, right) = (one.fill_buf()?, other.fill_buf()?);
            let length = left.len().min(right.len());
            if length == 0 {
                return Ok(left.len() == right.len());
            }
            if left[..length] != right[..length] {
                return Ok(false);
            }
            one.consume(length);
            other.consume(length);
        }
    };
    tokio::task::spawn_blocking(compare).await.map_err(std::io::Error::other)?
}

fn failure(doing: &str, error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            Error::OutOfSpace("the disk is full; free some space and try again".to_owned())
        }
        _ => Error::internal(doing.to_owned(), error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_appear_under_their_key_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).await.unwrap();
        let mut incoming = blobs.incoming("one").await.unwrap();
        incoming.write(b"hello ").await.unwrap();
        assert!(blobs.read("media/a.txt", 100).await.unwrap().is_none());
        incoming.write(b"world").await.unwrap();
        assert_eq!(incoming.written(), 11);
        incoming.publish(&blobs, "media/a.txt").await.unwrap();
        assert_eq!(blobs.read("media/a.txt", 100).await.unwrap().unwrap(), b"hello world");
        blobs.remove("media/a.txt").await.unwrap();
        blobs.remove("media/a.txt").await.unwrap();
        assert!(blobs.read("media/a.txt", 100).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn discarded_bytes_leave_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).await.unwrap();
        let mut incoming = blobs.incoming("one").await.unwrap();
        incoming.write(b"x").await.unwrap();
        incoming.discard().await;
        assert_eq!(std::fs::read_dir(folder.path().join("incoming")).unwrap().count(), 0);
        assert!(blobs.open_file("media/one").await.unwrap().is_none());
        assert!(blobs.open_file("../incoming/one").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn bytes_that_are_there_are_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).await.unwrap();
        for (name, bytes, fits) in [("one", "first", true), ("two", "later", false), ("three", "first", true)] {
            let mut incoming = blobs.incoming(name).await.unwrap();
            incoming.write(bytes.as_bytes()).await.unwrap();
            let published = incoming.publish(&blobs, "media/a.txt").await;
            assert_eq!(published.is_ok(), fits, "{name}");
            assert!(fits || matches!(published, Err(Error::Conflict(_))));
        }
        assert_eq!(std::fs::read_dir(folder.path().join("incoming")).unwrap().count(), 0);
        assert_eq!(blobs.read("media/a.txt", 100).await.unwrap().unwrap(), b"first");
    }

    #[tokio::test]
    async fn an_upload_that_is_dropped_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).await.unwrap();
        let incoming = blobs.incoming("one").await.unwrap();
        let temporary = incoming.temporary.clone();
        assert!(temporary.exists());
        std::thread::spawn(move || drop(incoming)).join().unwrap();
        assert!(!temporary.exists());
    }

    #[tokio::test]
    async fn old_bytes_are_listed_by_their_keys() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).await.unwrap();
        assert!(blobs.stored_before(Timestamp::from_millis(i64::MAX / 2)).recv().await.unwrap().is_empty());
        for number in 0..SLICE + 2 {
            let incoming = blobs.incoming("one").await.unwrap();
            incoming.publish(&blobs, &format!("media/{}/{number}.txt", number % 3)).await.unwrap();
        }
        let mut keys = Vec::new();
        let mut slices = blobs.stored_before(Timestamp::from_millis(i64::MAX / 2));
        while let Some(slice) = slices.recv().await {
            assert!(slice.len() <= SLICE);
            keys.extend(slice);
        }
        assert_eq!(keys.len(), SLICE + 2);
        assert!(keys.contains(&"media/1/1.txt".to_owned()));
        assert!(blobs.stored_before(Timestamp::from_millis(1)).recv().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_restart_clears_what_was_half_written() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).await.unwrap();
        let mut half = blobs.incoming("half").await.unwrap();
        half.write(b"x").await.unwrap();
        // A process that is killed drops nothing.
        std::mem::forget(half);
        Blobs::open(folder.path()).await.unwrap();
        assert_eq!(std::fs::read_dir(folder.path().join("incoming")).unwrap().count(), 0);
    }

    #[test]
    fn only_our_own_keys_have_a_path() {
        let blobs = Blobs { root: PathBuf::from("/data/blobs") };
        assert!(blobs.path("media/chatbots/chatbot-file/0199.pdf").is_some());
        for key in ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/.hidden", "a\\b", "a/b\0", "ü", "a b", "."] {
            assert_eq!(blobs.path(key), None, "{key:?}");
        }
    }
}
