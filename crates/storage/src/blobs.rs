//! Bytes of uploads and files, in a folder. Keys are made by the product, never taken from a name.

use std::path::{Path, PathBuf};

use parlance_domain::{Error, Result};
use tokio::fs;
use tokio::io::AsyncWriteExt;

/// A folder of blobs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Blobs {
    root: PathBuf,
}

/// Bytes being written; nothing is visible under the key before [`Incoming::publish`]. Dropping them,
/// as a request does whose client went away, removes them.
#[derive(Debug)]
pub struct Incoming {
    file: fs::File,
    temporary: Temporary,
    written: u64,
}

/// A file that is removed unless it was moved or removed before.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    is_gone: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_gone
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(%error, "a temporary upload could not be removed");
        }
    }
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
        let is_part = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        };
        (key.len() <= 255 && key.split('/').all(is_part)).then(|| self.root.join("files").join(key))
    }

    /// Starts writing. `unique` names the temporary file.
    pub async fn incoming(&self, unique: &str) -> Result<Incoming> {
        let path = self.incoming_folder().join(unique);
        let file = fs::File::create_new(&path).await.map_err(|error| failure("starting an upload", error))?;
        Ok(Incoming { file, temporary: Temporary { path, is_gone: false }, written: 0 })
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
    pub async fn publish(mut self, blobs: &Blobs, key: &str) -> Result<()> {
        let target = blobs.path(key).ok_or_else(|| Error::bug(format!("{key:?} is no blob key")))?;
        let folder = target.parent().map(Path::to_owned).ok_or_else(|| Error::bug("a blob key without folder"))?;
        let storing = |error| failure("storing an upload", error);
        self.file.flush().await.map_err(storing)?;
        self.file.sync_all().await.map_err(storing)?;
        fs::create_dir_all(&folder).await.map_err(storing)?;
        fs::rename(&self.temporary.path, &target).await.map_err(storing)?;
        self.temporary.is_gone = true;
        for parent in folder.ancestors().take_while(|parent| parent.starts_with(&blobs.root)) {
            fs::File::open(parent).await.map_err(storing)?.sync_all().await.map_err(storing)?;
        }
        Ok(())
    }

    /// Throws the bytes away.
    pub async fn discard(mut self) {
        drop(self.file);
        self.temporary.is_gone = true;
        if let Err(error) = fs::remove_file(&self.temporary.path).await {
            tracing::warn!(%error, "a temporary upload could not be removed");
        }
    }
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
    async fn forgotten_bytes_leave_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).await.unwrap();
        blobs.incoming("one").await.unwrap().write(b"x").await.unwrap();
        assert_eq!(std::fs::read_dir(folder.path().join("incoming")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_restart_clears_what_was_half_written() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).await.unwrap();
        // As a process does that is killed.
        let mut half = blobs.incoming("half").await.unwrap();
        half.write(b"x").await.unwrap();
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
