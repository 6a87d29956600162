//! `Idempotency-Key`: a request that is sent again is carried out once and answered the same.
//!
//! * While an attempt runs in this process, another one is 409; with another request, 422.
//! * The key's row appears in the transaction of the first effect. A process that dies before that
//!   leaves nothing, and the next attempt is the first; one that dies after it leaves the ids of what
//!   was made, and the next attempt is answered with these things as they are.
//! * When the handler has answered, its answer is stored, sealed, and later attempts get it. An
//!   answer without an effect is stored if it is a success; other ones free the key.
//! * The handler runs in a task of its own: a client that goes away stops nothing.
//! * Of a form with a file the hash is known when the handler has read it
//!   (`crate::form_fingerprint`); until then its attempt is told from others by method and path.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use parlance_domain::kind::OrganisationId;
use parlance_domain::{Error, Principal};
use parlance_service::App;
use parlance_service::forgetting::IDEMPOTENCY_KEYS;
use parlance_storage::idempotency::{self, Answer, Claim, Known};
use parlance_storage::request_scope::RequestScope;
use parlance_storage::secrets::Place;
use sha2::{Digest, Sha256};
use tower::ServiceExt;
use tracing::Instrument;
use uuid::Uuid;

use crate::error::{ApiError, ApiResult};
use crate::extract::Form;
use crate::form_fingerprint::LentBody;
use crate::routes::MAX_JSON_BYTES;
use crate::v1::completions;
use crate::writes::{REPLAYED, Success, Write, Writes, correct_status, credential};

pub(crate) static HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// Characters of a key.
const MAX_KEY: usize = 255;
/// Larger answers are not stored.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Things that are looked up for an answer that was lost.
const MAX_MADE: usize = 1000;

const RUNNING: &str = "A request with this idempotency key is in progress; try again in a moment.";
const OTHER_REQUEST: &str = "This idempotency key was used for another request; take a new one.";
const LOST: &str = "The request was carried out, but its answer was lost when the server ended. Look at what it made; \
                    to repeat it, take a new idempotency key.";

/// Attempts that run in this process, by organisation and key, with the hash of their request.
#[derive(Clone, Debug, Default)]
pub(crate) struct InProgress(Arc<Mutex<HashMap<(OrganisationId, String), String>>>);

impl InProgress {
    fn enter(&self, organisation: OrganisationId, key: &str, hash: &str) -> Result<Running, Error> {
        let place = (organisation, key.to_owned());
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match running.get(&place) {
            Some(other) if other != hash => return Err(Error::Unprocessable(OTHER_REQUEST.to_owned())),
            Some(_same) => return Err(Error::Conflict(RUNNING.to_owned())),
            None => running.insert(place.clone(), hash.to_owned()),
        };
        Ok(Running { list: self.clone(), place })
    }
}

/// An attempt that runs, until it is dropped.
#[derive(Debug)]
struct Running {
    list: InProgress,
    place: (OrganisationId, String),
}

impl Drop for Running {
    fn drop(&mut self) {
        self.list.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.place);
    }
}

/// One attempt to make a request with a key.
#[derive(Debug)]
pub(crate) struct Attempt {
    key: String,
    /// Method, path, query and body; of a form without the body.
    request_hash: String,
    is_form: bool,
    in_progress: InProgress,
    state: Mutex<Begun>,
}

/// What became of an attempt when its caller was known.
#[derive(Debug, Default)]
struct Begun {
    by: Option<Principal>,
    claim: Option<Claim>,
    known: Option<Known>,
    running: Option<Running>,
}

impl Attempt {
    /// Takes the key, or finds out what is known of it. Called for callers who may make the request.
    ///
    /// # Errors
    /// When the request must not be carried out. If that is because it was already, the layer
    /// answers as it was answered before, in place of this error.
    pub(crate) async fn begin(&self, app: &App, scope: &RequestScope, principal: &Principal) -> Result<(), Error> {
        let tenant = principal.tenant;
        let (credential, is_visitor) = credential(principal);
        // Visitors have keys of their own, so that none of them can take somebody else's.
        let key = if is_visitor { format!("visitor {credential} {}", self.key) } else { self.key.clone() };
        // Answers may hold what only this caller may see.
        let request_hash = hash(&[self.request_hash.as_bytes(), credential.as_bytes()]);
        let running = self.in_progress.enter(tenant.organisation(), &key, &request_hash)?;
        let now = app.now();
        let forgotten_before = now.minus(IDEMPOTENCY_KEYS);
        let known = {
            let mut tx = app.db.read(tenant).await?;
            idempotency::find(&mut tx, tenant, &key, forgotten_before).await?
        };
        let claim = Claim {
            key,
            attempt: app.new_id::<parlance_domain::kind::Job>().to_string(),
            request_hash,
            created_at: now,
            forgotten_before,
        };
        if !self.is_form && known.as_ref().is_some_and(|known| known.request_hash != claim.request_hash) {
            return Err(Error::Unprocessable(OTHER_REQUEST.to_owned()));
        }
        let is_known = known.is_some();
        if !is_known {
            scope.claim(claim.clone());
        }
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            *state = Begun { by: Some(*principal), claim: Some(claim), known, running: Some(running) };
        }
        if is_known { Err(Error::Conflict(RUNNING.to_owned())) } else { Ok(()) }
    }

    /// Completes the hash of a form's request, before its effect.
    pub(crate) fn note_form(&self, scope: &RequestScope, form: [u8; 32]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Begun { claim: Some(claim), known: None, .. } = &mut *state {
            claim.request_hash = with_form(&claim.request_hash, form);
            scope.claim(claim.clone());
        }
    }

    fn take(&self) -> Begun {
        std::mem::take(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Lets a request with a key through, once.
pub(crate) async fn once(
    writes: &Writes,
    scope: Arc<RequestScope>,
    success: Success,
    request: Request,
    next: Next,
) -> ApiResult<Response> {
    let authorization = request.headers().get(header::AUTHORIZATION).cloned();
    // Bodies of strangers are not worth reading; the handler turns them away.
    let header = authorization.as_ref().map(HeaderValue::as_bytes);
    if parlance_service::authenticate::authenticate(&writes.app, header).await.is_err() {
        return Ok(next.run(request).await);
    }
    let key = read_key(&request)?;
    let (parts, body) = request.into_parts();
    let media_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_form = media_type.trim_start().to_ascii_lowercase().starts_with("multipart/");
    let (bytes, body, form) = if is_form {
        let (lent, body) = LentBody::lend(body);
        let form = SentForm { media_type: parts.headers.get(header::CONTENT_TYPE).cloned(), body: lent };
        (Bytes::new(), body, Some(form))
    } else {
        let bytes = axum::body::to_bytes(body, MAX_JSON_BYTES).await.map_err(|error| {
            if error.into_inner().is::<http_body_util::LengthLimitError>() {
                Error::TooLarge { limit: MAX_JSON_BYTES as u64 }
            } else {
                Error::BadRequest("The body could not be read.".to_owned())
            }
        })?;
        (bytes.clone(), Body::from(bytes), None)
    };
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let attempt = Arc::new(Attempt {
        key,
        request_hash: hash(&[parts.method.as_str().as_bytes(), target.as_bytes(), &bytes]),
        is_form,
        in_progress: writes.in_progress.clone(),
        state: Mutex::default(),
    });
    let path = parts.uri.path().to_owned();
    let mut request = Request::from_parts(parts, body);
    request.extensions_mut().insert(Write { scope: Arc::clone(&scope), attempt: Some(Arc::clone(&attempt)) });
    let repeated = Repeated { path, authorization, success, wants_stream: wants_stream(&bytes) };
    let (app, writes) = (writes.app.clone(), writes.clone());
    let task = async move {
        let response = scope.run(next.run(request)).await;
        let Begun { by, claim, known, running } = attempt.take();
        let (Some(principal), Some(claim)) = (by, claim) else { return Ok(response) };
        let response = match known {
            Some(known) => match is_same_form(&writes.app, form, &claim, &known).await {
                Ok(true) => answer_again(&writes, &principal, &claim, known, &repeated).await,
                Ok(false) => Err(Error::Unprocessable(OTHER_REQUEST.to_owned()).into()),
                Err(error) => Err(error),
            },
            None => finish(&writes.app, &principal, &claim, &scope, response).await,
        };
        drop(running);
        response
    };
    // Goes on when the client goes away; the stop waits for it.
    let running = app.tasks.spawn(task.in_current_span());
    running.await.map_err(|error| ApiError(Error::internal("a request with an idempotency key", error)))?
}

fn read_key(request: &Request) -> Result<String, Error> {
    let mut values = request.headers().get_all(&HEADER).iter();
    let (value, others) = (values.next(), values.next());
    let is_good = |key: &&str| (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    let key = value.and_then(|value| value.to_str().ok()).filter(is_good).filter(|_| others.is_none());
    key.map(str::to_owned).ok_or_else(|| {
        Error::BadRequest(format!(
            "Idempotency-Key must be one value of 1 to {MAX_KEY} visible ASCII characters, such as a UUID."
        ))
    })
}

/// Each part with its length in front, so that no two lists of parts are the same bytes.
fn hash(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digest = hasher.finalize();
    hex::encode(digest)
}

/// The hash of a form's request.
fn with_form(head: &str, form: [u8; 32]) -> String {
    hash(&[head.as_bytes(), &form])
}

/// A form that was sent with a key.
struct SentForm {
    media_type: Option<HeaderValue>,
    body: LentBody,
}

/// Whether a form is the one that the key was taken for. Reads it to the end of its file; what is no
/// form was compared before.
async fn is_same_form(app: &App, form: Option<SentForm>, claim: &Claim, known: &Known) -> ApiResult<bool> {
    let Some(SentForm { media_type, body }) = form else { return Ok(true) };
    let Some(body) = body.take_back() else { return Ok(false) };
    let mut request = Request::new(body);
    request.headers_mut().extend(media_type.map(|value| (header::CONTENT_TYPE, value)));
    let fingerprint = Form::fingerprint(request, app).await?;
    Ok(fingerprint.is_some_and(|form| with_form(&claim.request_hash, form) == known.request_hash))
}

fn wants_stream(body: &[u8]) -> bool {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    body.get("isStreaming").or(body.get("is_streaming")) == Some(&serde_json::Value::Bool(true))
}

/// Stores the answer of a request that was carried out now.
async fn finish(
    app: &App,
    principal: &Principal,
    claim: &Claim,
    scope: &RequestScope,
    response: Response,
) -> ApiResult<Response> {
    correct_status(app, scope, response.status()).await;
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    let is_stream = content_type.starts_with("text/event-stream");
    if is_stream || !(response.status().is_success() || scope.effects() > 0) {
        // A stream is told again from the message; a refusal without an effect frees the key.
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX)
        .await
        .map_err(|error| Error::internal("reading an answer to store it", error))?;
    if body.len() <= MAX_ANSWER_BYTES {
        let stored = store(app, principal, claim, (parts.status, content_type), &body).await;
        if let Err(error) = stored {
            // The effect stands and has the key: another attempt is told what was made.
            tracing::warn!(%error, "the answer of a request with an idempotency key could not be stored");
        }
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

async fn store(
    app: &App,
    principal: &Principal,
    claim: &Claim,
    (status, content_type): (StatusCode, String),
    body: &[u8],
) -> Result<(), Error> {
    let tenant = principal.tenant;
    let body_sealed = app.master_key.seal(&place(principal, &claim.attempt), body)?;
    let answer = Answer { status: status.as_u16(), content_type, body_sealed };
    let claim = claim.clone();
    app.db
        .write(tenant, move |tx| Box::pin(async move { idempotency::finish(tx, tenant, &claim, &answer).await }))
        .await
}

fn place<'a>(principal: &Principal, attempt: &'a str) -> Place<'a> {
    Place { tenant: principal.tenant, table: "idempotency_keys", row: attempt, column: "body_sealed" }
}

/// A request that was carried out before.
struct Repeated {
    path: String,
    authorization: Option<HeaderValue>,
    success: Success,
    wants_stream: bool,
}

async fn answer_again(
    writes: &Writes,
    principal: &Principal,
    claim: &Claim,
    known: Known,
    repeated: &Repeated,
) -> ApiResult<Response> {
    let app = &writes.app;
    let mut response = if let (Some(status), Some(sealed)) = (known.status, &known.body_sealed) {
        let body = app.master_key.open(&place(principal, &known.attempt), sealed)?;
        let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
        let mut response = Response::new(Body::from(body.to_vec()));
        *response.status_mut() = status.unwrap_or(StatusCode::OK);
        if let Some(content_type) = known.content_type.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
            response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        }
        response
    } else if let Some(message) = known.answer_message_id {
        completions::again(app, principal, message, repeated.wants_stream).await?
    } else {
        let (status, body) = look_up(writes, &known.made, repeated).await?;
        // From now on the answer is this one, whatever becomes of the things.
        let found = Claim { attempt: known.attempt, ..claim.clone() };
        store(app, principal, &found, (status, "application/json".to_owned()), &body).await?;
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    };
    response.headers_mut().insert(REPLAYED.0, REPLAYED.1);
    Ok(response)
}

/// The answer of a request that was carried out by a process that died before it could answer: what
/// it made, as it is now.
async fn look_up(writes: &Writes, made: &str, repeated: &Repeated) -> ApiResult<(StatusCode, Vec<u8>)> {
    let lost = || ApiError(Error::Conflict(LOST.to_owned()));
    let ids: Vec<Uuid> = made.split_whitespace().filter_map(|id| Uuid::try_parse(id).ok()).take(MAX_MADE).collect();
    let status = StatusCode::from_u16(repeated.success.status).unwrap_or(StatusCode::OK);
    let (mut found, mut folder) = (Vec::new(), None);
    for id in ids {
        // Below the path of the request, or below a folder of it: `chatbots/{id}/duplicate/` makes
        // something in `chatbots/`.
        let candidates = folder.clone().map_or_else(|| folders(&repeated.path), |folder| vec![folder]);
        for candidate in candidates {
            if let Some(body) = get(writes, &format!("{candidate}{id}/"), repeated).await {
                found.push(body);
                folder = Some(candidate);
                break;
            }
        }
        if !found.is_empty() && !repeated.success.is_list {
            break;
        }
    }
    if repeated.success.is_list && !found.is_empty() {
        return Ok((status, [b"[", found.join(&b","[..]).as_slice(), b"]"].concat()));
    }
    found.into_iter().next().map(|body| (status, body)).ok_or_else(lost)
}

/// `/api/v1/a/1/b/` gives itself, `/api/v1/a/1/` and `/api/v1/a/`.
fn folders(path: &str) -> Vec<String> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    (3..=parts.len()).rev().map(|length| format!("/{}/", parts[..length].join("/"))).collect()
}

/// The body of a thing, if the caller may read it.
async fn get(writes: &Writes, path: &str, repeated: &Repeated) -> Option<Vec<u8>> {
    let mut request = Request::builder().method(Method::GET).uri(path).body(Body::empty()).ok()?;
    if let Some(authorization) = &repeated.authorization {
        request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
    }
    let response = writes.operations.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
    if response.status() != StatusCode::OK {
        return None;
    }
    axum::body::to_bytes(response.into_body(), MAX_ANSWER_BYTES).await.ok().map(|body| body.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_looked_for_from_the_request_s_path_upwards() {
        assert_eq!(folders("/api/v1/chatbots/"), ["/api/v1/chatbots/"]);
        assert_eq!(
            folders("/api/v1/groups/1/members/bulk-create/"),
            [
                "/api/v1/groups/1/members/bulk-create/",
                "/api/v1/groups/1/members/",
                "/api/v1/groups/1/",
                "/api/v1/groups/"
            ]
        );
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_eq!(hash(&[b"ab", b"c"]).len(), 64);
    }

    #[test]
    fn keys_are_short_and_visible() {
        let read = |values: &[&[u8]]| {
            let mut request = Request::new(Body::empty());
            for value in values {
                request.headers_mut().append(&HEADER, HeaderValue::from_bytes(value).unwrap());
            }
            read_key(&request).ok()
        };
        assert_eq!(read(&[b"a-1"]).as_deref(), Some("a-1"));
        assert!(read(&[&[b'k'; 255]]).is_some());
        for bad in [&[&[b'k'; 256][..]][..], &[b""], &[b"a b"], &["鍵".as_bytes()], &[b"a", b"a"]] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
