//! What makes a form with a file the same request when it is sent again with its idempotency key:
//! its fields up to the file, by name, file name, media type and bytes. Not how it is written: a
//! client takes another boundary each time.
//!
//! The bytes are hashed while the handler reads them, so that no form is kept in memory or written to
//! disk twice. The hash is known before anything is stored, because the file has been read by then. A
//! form whose key is known is not given to the handler; its body is lent, and taken back to be read
//! for its hash alone.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};

use crate::writes::Write;

/// The hash of a form that is being read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fingerprint {
    fields: Sha256,
    /// Of the field that is being read, if there is one.
    content: Option<Sha256>,
}

impl Fingerprint {
    /// Begins with the next field.
    pub(crate) fn begin_field(&mut self, name: &str, file_name: Option<&str>, media_type: Option<&str>) {
        self.end_field();
        for text in [Some(name), file_name, media_type] {
            // A length of its own for what is not there, and in front of each, so that texts do not run
            // into each other.
            let length = text.map_or(u64::MAX, |text| text.len() as u64);
            self.fields.update(length.to_le_bytes());
            self.fields.update(text.unwrap_or_default());
        }
        self.content = Some(Sha256::new());
    }

    /// Adds bytes of the field.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        if let Some(content) = &mut self.content {
            content.update(bytes);
        }
    }

    fn end_field(&mut self) {
        if let Some(content) = self.content.take() {
            self.fields.update(content.finalize());
        }
    }

    /// The hash of all fields that were read.
    pub(crate) fn finish(mut self) -> [u8; 32] {
        self.end_field();
        self.fields.finalize().into()
    }
}

/// A form's hash on its way to the idempotency key that the form was sent with.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) fingerprint: Fingerprint,
    write: Write,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Watched").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl Watched {
    /// Of a request that was sent with a key.
    pub(crate) fn of(write: &Write) -> Option<Self> {
        write.attempt.is_some().then(|| Self { fingerprint: Fingerprint::default(), write: write.clone() })
    }

    /// Tells the key what was read. Called when the file is read and nothing was stored yet.
    pub(crate) fn tell(&self) {
        if let Some(attempt) = &self.write.attempt {
            attempt.note_form(&self.write.scope, self.fingerprint.clone().finish());
        }
    }
}

/// A body that its reader has only borrowed.
#[derive(Clone, Debug)]
pub(crate) struct LentBody(Arc<Mutex<Option<Body>>>);

impl LentBody {
    /// Gives a body that is the lent one from the moment somebody begins to read it.
    pub(crate) fn lend(body: Body) -> (Self, Body) {
        let lent = Self(Arc::new(Mutex::new(Some(body))));
        let borrowed = lent.clone();
        let reader = stream::once(async move { borrowed.take_back().unwrap_or_default().into_data_stream() });
        (lent, Body::from_stream(reader.flatten()))
    }

    /// The body, unless somebody has begun to read it.
    pub(crate) fn take_back(&self) -> Option<Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, file name, media type and the pieces of its content.
    type Field<'a> = (&'a str, Option<&'a str>, Option<&'a str>, &'a [&'a [u8]]);

    fn fingerprint(fields: &[Field<'_>]) -> [u8; 32] {
        let mut fingerprint = Fingerprint::default();
        for (name, file_name, media_type, pieces) in fields {
            fingerprint.begin_field(name, *file_name, *media_type);
            pieces.iter().for_each(|piece| fingerprint.add(piece));
        }
        fingerprint.finish()
    }

    #[test]
    fn every_part_of_a_field_counts_and_how_it_arrives_does_not() {
        let file = ("file", Some("a"), Some("text/plain"), [b"some bytes".as_slice()]);
        let whole = fingerprint(&[(file.0, file.1, file.2, &file.3)]);
        assert_eq!(whole, fingerprint(&[(file.0, file.1, file.2, &[b"some", b"", b" bytes"])]));
        for other in [
            fingerprint(&[]),
            fingerprint(&[("fil", file.1, file.2, &file.3)]),
            fingerprint(&[(file.0, Some("b"), file.2, &file.3)]),
            fingerprint(&[(file.0, None, file.2, &file.3)]),
            fingerprint(&[(file.0, file.1, None, &file.3)]),
            fingerprint(&[(file.0, Some("atext/plain"), None, &file.3)]),
            fingerprint(&[(file.0, file.1, file.2, &[b"some bytez"])]),
            fingerprint(&[(file.0, file.1, file.2, &[b"some byte"])]),
            fingerprint(&[(file.0, file.1, file.2, &file.3), ("", None, None, &[])]),
        ] {
            assert_ne!(whole, other);
        }
    }

    #[tokio::test]
    async fn a_lent_body_is_read_or_taken_back() {
        let (lent, reader) = LentBody::lend(Body::from("text"));
        assert_eq!(axum::body::to_bytes(reader, 9).await.unwrap(), "text");
        assert!(lent.take_back().is_none());
        let (lent, reader) = LentBody::lend(Body::from("text"));
        let body = lent.take_back().unwrap();
        assert_eq!(axum::body::to_bytes(body, 9).await.unwrap(), "text");
        assert_eq!(axum::body::to_bytes(reader, 9).await.unwrap(), "");
    }
}
