//! Presigned form upload: the client asks for a form, posts the bytes to it without credentials,
//! and names the form's key where it wants to use them.
//!
//! The form carries its own permission: a policy (organisation, key, end of its time, and as with S3
//! a `content-length-range` up to the size that was announced) and an HMAC over it. The field names
//! are those of an S3 form, six of them, because clients send back exactly these.

use std::collections::HashSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parlance_domain::kind::{OrganisationId, Upload as UploadKind, UploadId};
use parlance_domain::{Error, Id, Principal, Result, Scopes, Tenant, Timestamp, Visitor};
use parlance_storage::blobs::Incoming;
use parlance_storage::uploads::{self, Upload};
use parlance_storage::{Scope, Tx};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::App;
use crate::further_scopes::{self, Use};
use crate::storage_quota::{self, Usage};

/// Characters of a file name.
const MAX_FILENAME: usize = 255;
/// Uploads that nothing refers to are removed after this.
const ABANDONED_AFTER: Duration = Duration::from_hours(24);

/// What is wrong with a value that names no finished upload.
pub(crate) const UNKNOWN: &str = "No such upload: use the key of a finished upload, or one of our own file links.";

/// The answer to a field that names no finished upload.
pub(crate) fn unknown(field: impl Into<String>) -> Error {
    Error::field(field, UNKNOWN)
}

/// What a client wants to upload.
#[derive(Clone, Debug)]
pub struct UploadRequest {
    /// Its name.
    pub filename: String,
    /// What it is for: `attachment`, `chatbot-file`, `batch-qa`, ...
    pub model_name: String,
    /// Bytes of the file: the form takes no more. 0 is for a client that does not know them; then the
    /// form takes what the server takes at most.
    pub file_size: u64,
}

/// The form to post.
#[derive(Clone, Debug, Serialize)]
pub struct UploadForm {
    /// Storage key, by which the bytes are named afterwards.
    pub key: String,
    /// Always `AWS4-HMAC-SHA256`, as clients expect.
    #[serde(rename = "x-amz-algorithm")]
    pub algorithm: &'static str,
    /// Scope of the signature.
    #[serde(rename = "x-amz-credential")]
    pub credential: String,
    /// When it was made.
    #[serde(rename = "x-amz-date")]
    pub date: String,
    /// Base64 of the policy.
    pub policy: String,
    /// Signature of the policy.
    #[serde(rename = "x-amz-signature")]
    pub signature: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Policy {
    organisation: OrganisationId,
    key: String,
    filename: String,
    expires: i64,
    conditions: (LengthRange,),
}

/// The condition of S3's policies on how large the file may be: its name, the least, the most bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct LengthRange(RangeName, u64, u64);

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum RangeName {
    #[serde(rename = "content-length-range")]
    ContentLengthRange,
}

impl LengthRange {
    const fn up_to(bytes: u64) -> Self {
        Self(RangeName::ContentLengthRange, 0, bytes)
    }
}

impl Policy {
    /// Bytes of the file at most.
    const fn max_bytes(&self) -> u64 {
        self.conditions.0.2
    }
}

/// An upload that is allowed and is being received.
#[derive(Debug)]
pub struct Receiving {
    policy: Policy,
    /// As it was when the upload began.
    usage: Usage,
    incoming: Incoming,
}

/// Folder of what visitors upload; each has one of their own in it, which says whose a file is.
const VISITORS: &str = "media/chat/visitors";

/// Whether the caller may upload at all: of visitors, those of web chats that take files.
///
/// # Errors
/// `Refused` when the visitor's web chat takes none.
pub async fn may_upload(app: &App, principal: &Principal) -> Result<()> {
    let Some(visitor) = principal.visitor() else { return Ok(()) };
    let view = crate::web_chats::get(app, principal.tenant, visitor.web_chat).await?;
    if view.settings.flags.enable_file_upload { Ok(()) } else { Err(Error::Refused("This web chat takes no files.")) }
}

/// Whether the caller may use an upload: a visitor only what they uploaded themselves.
fn may_use(principal: &Principal, upload: &Upload) -> bool {
    principal.visitor().is_none_or(|visitor| upload.blob_key.starts_with(&folder_of(visitor)))
}

fn folder_of(visitor: Visitor) -> String {
    format!("{VISITORS}/{}/", visitor.contact)
}

/// Makes the form for an upload.
///
/// # Errors
/// Wrong fields; `Refused` when the caller is a visitor of a web chat that takes no files;
/// `QuotaExceeded` when the organisation has no room for the file.
pub async fn presign(app: &App, principal: &Principal, request: &UploadRequest) -> Result<UploadForm> {
    may_upload(app, principal).await?;
    if principal.visitor().is_some() && request.model_name != "attachment" {
        return Err(Error::field("modelName", "Visitors upload attachments only."));
    }
    let now = app.now();
    let filename = clean_filename(&request.filename).ok_or_else(|| Error::field("filename", "Enter a file name."))?;
    if request.file_size > app.settings.max_upload_bytes {
        return Err(Error::TooLarge { limit: app.settings.max_upload_bytes });
    }
    // An upload that cannot be kept is better not begun.
    storage_quota::usage(app, principal.tenant).await?.check(request.file_size.max(1))?;
    let max_bytes = if request.file_size == 0 { app.settings.max_upload_bytes } else { request.file_size };
    let key = new_key(app, principal.visitor(), &request.model_name, &filename);
    let policy = Policy {
        organisation: principal.tenant.organisation(),
        key: key.clone(),
        filename,
        expires: now.plus(app.settings.upload_valid_for).millis(),
        conditions: (LengthRange::up_to(max_bytes),),
    };
    let policy = serde_json::to_vec(&policy).map_err(|error| Error::internal("making an upload form", error))?;
    let policy = STANDARD.encode(policy);
    let moment = OffsetDateTime::from_unix_timestamp(now.millis() / 1000)
        .map_err(|error| Error::internal("making an upload form", error))?;
    let format = |format: &[time::format_description::BorrowedFormatItem<'_>]| {
        moment.format(format).map_err(|error| Error::internal("making an upload form", error))
    };
    let day = format(format_description!("[year][month][day]"))?;
    let date = format(format_description!("[year][month][day]T[hour][minute][second]Z"))?;
    Ok(UploadForm {
        key,
        algorithm: "AWS4-HMAC-SHA256",
        credential: format!("parlance/{day}/local/s3/aws4_request"),
        date,
        signature: app.links.sign_policy(&policy)?,
        policy,
    })
}

/// Checks the fields of a posted form and prepares to receive its bytes.
pub async fn receive(app: &App, key: &str, policy: &str, signature: &str) -> Result<Receiving> {
    const REFUSED: &str = "upload";
    if !app.links.is_policy_signature(policy, signature) {
        return Err(Error::Forbidden(REFUSED));
    }
    let decoded: Option<Policy> = STANDARD.decode(policy).ok().and_then(|json| serde_json::from_slice(&json).ok());
    let policy = decoded.filter(|policy| policy.key == key).ok_or(Error::Forbidden(REFUSED))?;
    if app.now() >= Timestamp::from_millis(policy.expires) {
        return Err(Error::BadRequest("The upload form has expired; ask for a new one.".to_owned()));
    }
    let tenant = Tenant::authenticated(policy.organisation);
    let mut usage = storage_quota::usage(app, tenant).await?;
    if usage.quota.is_some() && uploads::by_key(&mut app.db.read(tenant).await?, tenant, key).await?.is_some() {
        // The same form once more takes no more room, and is answered as it was before.
        usage.quota = None;
    }
    begin(app, policy, usage).await
}

async fn begin(app: &App, policy: Policy, usage: Usage) -> Result<Receiving> {
    let incoming = app.blobs.incoming(&app.new_id::<UploadKind>().to_string()).await?;
    Ok(Receiving { policy, usage, incoming })
}

/// Prepares to receive bytes that came with a credential of their own instead of a form.
pub async fn receive_directly(app: &App, principal: &Principal, model_name: &str, filename: &str) -> Result<Receiving> {
    may_upload(app, principal).await?;
    let filename = clean_filename(filename).ok_or_else(|| Error::field("filename", "Enter a file name."))?;
    let policy = Policy {
        organisation: principal.tenant.organisation(),
        key: new_key(app, principal.visitor(), model_name, &filename),
        filename,
        expires: i64::MAX,
        conditions: (LengthRange::up_to(app.settings.max_upload_bytes),),
    };
    let usage = storage_quota::usage(app, principal.tenant).await?;
    begin(app, policy, usage).await
}

impl Receiving {
    /// Adds bytes; more than allowed, or than there is room for, is an error, after which the upload is
    /// to be discarded.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let (limit, size) = (self.policy.max_bytes(), self.incoming.written() + bytes.len() as u64);
        if size > limit {
            return Err(Error::TooLarge { limit });
        }
        self.usage.check(size)?;
        self.incoming.write(bytes).await
    }

    /// Keeps the bytes: on disk, then noted in the database. Gives the upload.
    ///
    /// # Errors
    /// `QuotaExceeded` when the organisation would store more than it may; then nothing is kept.
    pub async fn finish(self, app: &App) -> Result<Upload> {
        let tenant = Tenant::authenticated(self.policy.organisation);
        let upload = Upload {
            id: app.new_id(),
            blob_key: self.policy.key.clone(),
            filename: self.policy.filename,
            size: i64::try_from(self.incoming.written()).unwrap_or(i64::MAX),
            created_at: app.now(),
        };
        self.incoming.publish(&app.blobs, &self.policy.key).await?;
        let row = upload.clone();
        let quota = storage_quota::quota(app).map(|quota| i64::try_from(quota).unwrap_or(i64::MAX));
        let noted = app
            .db
            .write(tenant, move |tx| Box::pin(async move { uploads::insert(tx, tenant, &row, quota).await }))
            .await;
        if let Err(Error::Conflict(_)) = &noted {
            // The same bytes again: the first answer stands.
            let mut tx = app.db.read(tenant).await?;
            if let Some(known) = uploads::by_key(&mut tx, tenant, &upload.blob_key).await? {
                return Ok(known);
            }
        }
        if let Err(error) = noted {
            // Only bytes that nothing knows are removed: the commit may have reached the disk and only
            // the word of it been lost.
            if let Ok(mut tx) = app.db.read(Scope::System).await
                && let Ok([]) = uploads::known(&mut tx, std::slice::from_ref(&upload.blob_key)).await.as_deref()
            {
                drop(app.blobs.remove(&upload.blob_key).await);
            }
            return Err(error);
        }
        Ok(upload)
    }

    /// Throws the bytes away.
    pub async fn discard(self) {
        self.incoming.discard().await;
    }
}

/// The finished upload that a `file` field of a request names: a storage key, an upload's id, or
/// one of our own file links.
///
/// # Errors
/// `Forbidden` for a key that may not read what the upload is already.
pub(crate) async fn resolve(
    app: &App,
    tx: &mut Tx,
    tenant: Tenant,
    (scopes, made): (Scopes, Use),
    value: &str,
) -> Result<Option<Upload>> {
    let upload = match UploadId::parse(value) {
        Some(id) => uploads::by_id(tx, tenant, id).await?,
        None => match app.links.blob_key_in(tenant, value, app.now()) {
            Some(key) => uploads::by_key(tx, tenant, &key).await?,
            None => None,
        },
    };
    if let Some(upload) = &upload {
        further_scopes::check_upload(tx, tenant, scopes, (upload, made)).await?;
    }
    Ok(upload)
}

/// As [`resolve`], for an attachment. A visitor has only what they uploaded themselves.
pub(crate) async fn resolve_attachment(
    app: &App,
    tx: &mut Tx,
    principal: &Principal,
    value: &str,
) -> Result<Option<Upload>> {
    // A visitor has no permissions; the folder decides for them.
    let scopes = if principal.visitor().is_some() { Scopes::all() } else { principal.scopes };
    let upload = resolve(app, tx, principal.tenant, (scopes, Use::Attachment), value).await?;
    Ok(upload.filter(|upload| may_use(principal, upload)))
}

/// Removes uploads that nothing refers to: abandoned ones after a day, released ones at once.
pub async fn sweep(app: &App) -> Result<usize> {
    let before = app.now().minus(ABANDONED_AFTER);
    let abandoned = {
        let mut tx = app.db.read(Scope::System).await?;
        uploads::abandoned(&mut tx, before, 500).await?
    };
    let mut removed = 0;
    for (organisation, key) in abandoned {
        let tenant = Tenant::authenticated(organisation);
        let row_key = key.clone();
        let gone = app
            .db
            .write(tenant, move |tx| Box::pin(async move { uploads::delete_abandoned(tx, tenant, &row_key).await }))
            .await?;
        if gone {
            app.blobs.remove(&key).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Removes old bytes that the database knows nothing of: what a crash between the disk and the
/// database left. Gives how many.
pub async fn sweep_unknown_bytes(app: &App) -> Result<usize> {
    if !folder_belongs_to_database(app).await? {
        return Ok(0);
    }
    let mut removed = 0;
    let mut slices = app.blobs.stored_before(app.now().minus(ABANDONED_AFTER));
    while let Some(keys) = slices.recv().await {
        let known: HashSet<String> = {
            let mut tx = app.db.read(Scope::System).await?;
            uploads::known(&mut tx, &keys).await?.into_iter().collect()
        };
        for key in keys.iter().filter(|key| !known.contains(*key)) {
            app.blobs.remove(key).await?;
            removed += 1;
        }
        if app.stopping.is_cancelled() {
            break;
        }
    }
    Ok(removed)
}

/// Whether some bytes of this database are in the folder. When not, the server may have been started
/// with the wrong database, and everything in the folder would look as if nothing knew of it.
async fn folder_belongs_to_database(app: &App) -> Result<bool> {
    let keys = {
        let mut tx = app.db.read(Scope::System).await?;
        uploads::some_used(&mut tx, 20).await?
    };
    for key in keys {
        if app.blobs.open_file(&key).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A storage key: the product's own id, with only the extension taken from the name.
fn new_key(app: &App, visitor: Option<Visitor>, model_name: &str, filename: &str) -> String {
    let folder = match (visitor, model_name) {
        (Some(visitor), _) => folder_of(visitor),
        (None, "attachment") => "media/chat/attachment/".to_owned(),
        (None, "chatbot-file") => "media/chatbots/chatbot-file/".to_owned(),
        (None, "batch-qa") => "media/web-chats/batch-qa/".to_owned(),
        (None, _) => "media/uploads/".to_owned(),
    };
    let id: Id<UploadKind> = app.new_id();
    let extension = extension(filename);
    if extension.is_empty() { format!("{folder}{id}") } else { format!("{folder}{id}.{extension}") }
}

/// The extension of a name in lower case: letters and digits, at most ten; else nothing.
pub fn extension(filename: &str) -> String {
    let extension = filename.rsplit_once('.').map(|(_, extension)| extension).unwrap_or_default();
    let usable = extension.len() <= 10 && extension.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if usable { extension.to_ascii_lowercase() } else { String::new() }
}

/// A file name as data: without folders and control characters, at most 255 characters. `None` when
/// nothing is left.
pub fn clean_filename(filename: &str) -> Option<String> {
    let last = filename.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|character| !character.is_control()).collect();
    let clean = clean.trim();
    if clean.is_empty() || clean.trim_matches('.').is_empty() {
        return None;
    }
    let characters = clean.chars().count();
    if characters <= MAX_FILENAME {
        return Some(clean.to_owned());
    }
    // Keeps the end, which holds the extension.
    Some(clean.chars().skip(characters - MAX_FILENAME).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_data() {
        assert_eq!(clean_filename("../../etc/passwd").as_deref(), Some("passwd"));
        assert_eq!(clean_filename("C:\\temp\\報價單.PDF").as_deref(), Some("報價單.PDF"));
        assert_eq!(clean_filename("a\0b\n.txt").as_deref(), Some("ab.txt"));
        for nothing in ["", "..", ".", "/", "a/", " \t"] {
            assert_eq!(clean_filename(nothing), None, "{nothing:?}");
        }
        let long = format!("{}.pdf", "長".repeat(400));
        let cut = clean_filename(&long).unwrap();
        assert_eq!(cut.chars().count(), 255);
        assert_eq!(extension(&cut), "pdf");
        assert_eq!(extension("x.tar.gz"), "gz");
        assert_eq!(extension("x.p/../d"), "");
        assert_eq!(extension("x"), "");
    }
}
