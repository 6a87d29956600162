//! Multipart forms with one file, read in bounded memory.
//!
//! The reader of forms gathers everything before the first field, and the headers of every field,
//! before it gives anything away. A guard in front of it counts what arrives while no file is being
//! read and ends the form when that is more than any honest client sends.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream};
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Request};
use bytes::Bytes;
use futures_util::Stream;
use http::{StatusCode, header};
use parlance_domain::Error;
use parlance_service::App;

use crate::error::ApiError;
use crate::form_fingerprint::{Fingerprint, Watched};
use crate::writes::Write;

/// Bytes of a form that are not its file.
pub(crate) const MAX_BESIDE_FILE: usize = 64 * 1024;
/// Bytes of a form field that is not the file.
const MAX_FIELD: usize = 16 * 1024;
/// Fields of a form.
const MAX_FIELDS: usize = 32;
/// The reader asks for more also when it holds enough. Only when it has been refused this often and
/// understood nothing does it need more than it may have.
const MAX_STARVED: usize = 8;
/// Characters of a boundary, as RFC 2046 has it, with room for quotes and other parameters.
const MAX_CONTENT_TYPE: usize = 512;

/// A form that is being read.
#[derive(Debug)]
pub(crate) struct Form {
    inner: Multipart,
    guard: Arc<Guard>,
    fields: usize,
    max_file_bytes: u64,
    /// Of a form with an idempotency key.
    watched: Option<Watched>,
}

/// A field of a form.
pub(crate) struct FormField<'a> {
    inner: Field<'a>,
    guard: &'a Guard,
    max_file_bytes: u64,
    watched: Option<&'a mut Watched>,
}

#[derive(Debug, Default)]
struct Guard {
    is_in_file: AtomicBool,
    beside_file: AtomicUsize,
    /// Times that more was asked for than is allowed, since something was last understood.
    starved: AtomicUsize,
    is_exceeded: AtomicBool,
}

impl FromRequest<App> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let watched = request.extensions().get::<Write>().and_then(Watched::of);
        let mut form = Self::read(request, app.settings.max_upload_bytes).await?;
        form.watched = watched;
        Ok(form)
    }
}

impl Form {
    async fn read(request: Request, max_file_bytes: u64) -> Result<Self, ApiError> {
        if request.headers().get(header::CONTENT_TYPE).is_some_and(|value| value.len() > MAX_CONTENT_TYPE) {
            return Err(Error::BadRequest("The boundary of the form is too long.".to_owned()).into());
        }
        let guard = Arc::new(Guard::default());
        let guarded = Arc::clone(&guard);
        let mut request = request.map(|body| {
            let body = body.into_data_stream();
            Body::from_stream(GuardedBody { body, guard: guarded, has_given: false })
        });
        let limit = usize::try_from(max_file_bytes).unwrap_or(usize::MAX).saturating_add(MAX_BESIDE_FILE);
        DefaultBodyLimit::max(limit).apply(&mut request);
        let inner = Multipart::from_request(request, &()).await;
        let inner = inner.map_err(|rejection| Error::BadRequest(rejection.body_text()))?;
        Ok(Self { inner, guard, fields: 0, max_file_bytes, watched: None })
    }

    /// The hash of a form up to the end of its file, as a handler that reads it gives it to an
    /// idempotency key. `None` without a file.
    pub(crate) async fn fingerprint(request: Request, app: &App) -> Result<Option<[u8; 32]>, ApiError> {
        let mut form = Self::read(request, app.settings.max_upload_bytes).await?;
        let mut fingerprint = Fingerprint::default();
        while let Some(mut field) = form.next_field().await? {
            fingerprint.begin_field(field.name(), field.file_name(), field.inner.content_type());
            let is_file = field.name() == "file";
            if is_file {
                field.begin_file();
            }
            while let Some(chunk) = field.chunk().await? {
                fingerprint.add(&chunk);
            }
            if is_file {
                return Ok(Some(fingerprint.finish()));
            }
        }
        Ok(None)
    }

    /// The next field, if there is one. What was not read of the one before is skipped.
    pub(crate) async fn next_field(&mut self) -> Result<Option<FormField<'_>>, ApiError> {
        self.guard.is_in_file.store(false, Ordering::Relaxed);
        let (guard, max_file_bytes) = (&*self.guard, self.max_file_bytes);
        let mut watched = self.watched.as_mut();
        if self.fields == MAX_FIELDS {
            return Err(Error::BadRequest(format!("The form has more than {MAX_FIELDS} fields.")).into());
        }
        self.fields += 1;
        let field = self.inner.next_field().await.map_err(|error| unreadable(&error, guard, max_file_bytes))?;
        guard.starved.store(0, Ordering::Relaxed);
        if let (Some(field), Some(watched)) = (&field, &mut watched) {
            let name = field.name().unwrap_or_default();
            watched.fingerprint.begin_field(name, field.file_name(), field.content_type());
        }
        Ok(field.map(|inner| FormField { inner, guard, max_file_bytes, watched }))
    }
}

impl FormField<'_> {
    /// Its name, or nothing.
    pub(crate) fn name(&self) -> &str {
        self.inner.name().unwrap_or_default()
    }

    /// The file name that came with it.
    pub(crate) fn file_name(&self) -> Option<&str> {
        self.inner.file_name()
    }

    /// From now on its bytes are those of the file, which the caller counts.
    pub(crate) fn begin_file(&self) {
        self.guard.is_in_file.store(true, Ordering::Relaxed);
    }

    /// Its next bytes, or `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        let (guard, max_file_bytes) = (self.guard, self.max_file_bytes);
        let chunk = self.inner.chunk().await.map_err(|error| unreadable(&error, guard, max_file_bytes))?;
        guard.starved.store(0, Ordering::Relaxed);
        if let (Some(chunk), Some(watched)) = (&chunk, &mut self.watched) {
            watched.fingerprint.add(chunk);
        }
        Ok(chunk)
    }

    /// Reads it over. A field that is only dropped does not count for an idempotency key.
    pub(crate) async fn skip(mut self) -> Result<(), ApiError> {
        while self.chunk().await?.is_some() {}
        Ok(())
    }

    /// Says that the file was read to its end, before anything of it is stored: an idempotency key of
    /// the request is for a form with these bytes.
    pub(crate) fn end_file(&self) {
        if let Some(watched) = &self.watched {
            watched.tell();
        }
    }

    /// All of it as text, if it is short.
    pub(crate) async fn small_text(mut self) -> Result<String, ApiError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_FIELD {
                return Err(Error::TooLarge { limit: MAX_FIELD as u64 }.into());
            }
        }
        String::from_utf8(bytes).map_err(|_not_text| Error::BadRequest("A form field is not text.".to_owned()).into())
    }
}

fn unreadable(error: &MultipartError, guard: &Guard, max_file_bytes: u64) -> ApiError {
    if guard.is_exceeded.load(Ordering::Relaxed) {
        ApiError(Error::TooLarge { limit: MAX_BESIDE_FILE as u64 })
    } else if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        ApiError(Error::TooLarge { limit: max_file_bytes })
    } else {
        ApiError(Error::BadRequest(format!("The form could not be read: {}.", error.body_text())))
    }
}

struct GuardedBody {
    body: BodyDataStream,
    guard: Arc<Guard>,
    has_given: bool,
}

impl Stream for GuardedBody {
    type Item = Result<Bytes, Box<dyn std::error::Error + Send + Sync>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let is_in_file = self.guard.is_in_file.load(Ordering::Relaxed);
        if self.has_given && !is_in_file {
            // The reader takes pieces for as long as there are any, before it looks at them. It is
            // made to look at each, so that the beginning of the file is noticed.
            self.has_given = false;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !is_in_file && self.guard.beside_file.load(Ordering::Relaxed) > MAX_BESIDE_FILE {
            // What is held may be the beginning of the file, so the reader is first made to look.
            if self.guard.starved.fetch_add(1, Ordering::Relaxed) < MAX_STARVED {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.guard.is_exceeded.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err("too much beside the file".into())));
        }
        let piece = std::task::ready!(Pin::new(&mut self.body).poll_next(context));
        let Some(piece) = piece else { return Poll::Ready(None) };
        let piece = piece?;
        if !is_in_file {
            self.guard.beside_file.fetch_add(piece.len(), Ordering::Relaxed);
            self.has_given = true;
        }
        Poll::Ready(Some(Ok(piece)))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    const KIB: usize = 1024;

    /// Reads a form that comes in pieces of `step` bytes. Gives the length of its file.
    async fn file_length(form: Vec<u8>, step: usize, max_file_bytes: u64) -> Result<Option<usize>, Error> {
        let pieces: Vec<_> = form.chunks(step).map(|piece| Ok::<_, Error>(Bytes::copy_from_slice(piece))).collect();
        let request = Request::builder().header(header::CONTENT_TYPE, "multipart/form-data; boundary=line");
        let request = request.body(Body::from_stream(stream::iter(pieces))).unwrap();
        let mut form = Form::read(request, max_file_bytes).await.map_err(|error| error.0)?;
        while let Some(mut field) = form.next_field().await.map_err(|error| error.0)? {
            if field.name() == "file" {
                field.begin_file();
                let mut length = 0;
                while let Some(chunk) = field.chunk().await.map_err(|error| error.0)? {
                    length += chunk.len();
                }
                return Ok(Some(length));
            }
            field.small_text().await.map_err(|error| error.0)?;
        }
        Ok(None)
    }

    fn field(name: &str, content: &[u8]) -> Vec<u8> {
        let head = format!("--line\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        [head.as_bytes(), content, b"\r\n"].concat()
    }

    fn form(fields: &[Vec<u8>]) -> Vec<u8> {
        [fields.concat().as_slice(), b"--line--\r\n"].concat()
    }

    #[tokio::test]
    async fn a_file_is_read_in_pieces_of_any_size() {
        let content = vec![b'x'; 1000 * KIB];
        let posted = form(&[field("key", b"k"), field("policy", &[b'p'; 8 * KIB]), field("file", &content)]);
        for step in [100, 16 * KIB, 200 * KIB, posted.len()] {
            let length = file_length(posted.clone(), step, 1 << 20).await.unwrap();
            assert_eq!(length, Some(content.len()), "{step}");
        }
        assert_eq!(file_length(form(&[field("key", b"k")]), 7, 1 << 20).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_not_the_file_is_bounded() {
        let too_large = |result: Result<Option<usize>, Error>| matches!(result, Err(Error::TooLarge { limit: 65_536 }));
        let preamble = [vec![b'a'; 900 * KIB], form(&[field("file", b"x")])].concat();
        assert!(too_large(file_length(preamble, 16 * KIB, 1 << 20).await));
        let header = [b"--line\r\nContent-Disposition: form-data; name=\"", vec![b'n'; 900 * KIB].as_slice()].concat();
        assert!(too_large(file_length(header, 16 * KIB, 1 << 20).await));
        let many: Vec<_> = (0..8).map(|number| field(&number.to_string(), &[b'v'; 12 * KIB])).collect();
        assert!(too_large(file_length(form(&many), KIB, 1 << 20).await));
        let long = form(&[field("key", &vec![b'k'; 20 * KIB])]);
        assert!(matches!(file_length(long, KIB, 1 << 20).await, Err(Error::TooLarge { limit: 16_384 })));
        let fields: Vec<_> = (0..40).map(|number| field(&number.to_string(), b"v")).collect();
        assert!(matches!(file_length(form(&fields), KIB, 1 << 20).await, Err(Error::BadRequest(_))));
        let file = form(&[field("file", &vec![b'x'; 300 * KIB])]);
        assert!(matches!(file_length(file, KIB, 1000).await, Err(Error::TooLarge { limit: 1000 })));
    }
}
