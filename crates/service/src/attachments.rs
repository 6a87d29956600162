//! Attachments of messages: kept, listed, read as text or as a picture.

use bytes::Bytes;
use parlance_domain::kind::{AttachmentId, ConversationId};
use parlance_domain::{Error, Principal, Result, Tenant};
use parlance_ingestion::{ParseErrorKind, ParseEvent, ParseOptions};
use parlance_llm::Image;
use parlance_storage::attachments::{self, Attachment};
use parlance_storage::uploads::Upload;
use parlance_storage::{Listing, Page, conversations, uploads};
use tokio::sync::mpsc;

use crate::App;

/// What the model is told of a document whose time was over.
const TOO_LATE: &str = "could not be read in time";

/// An attachment of an upload that a request names. A visitor has only uploads of their own.
pub async fn create(
    app: &App,
    principal: &Principal,
    file: &str,
    filename: Option<&str>,
    kind: Option<&str>,
    conversation: Option<ConversationId>,
) -> Result<Attachment> {
    crate::uploads::may_upload(app, principal).await?;
    let tenant = principal.tenant;
    let upload = {
        let mut tx = app.db.read(tenant).await?;
        crate::uploads::resolve_attachment(app, &mut tx, principal, file).await?
    };
    let upload = upload.ok_or_else(|| crate::uploads::unknown("file"))?;
    attach(app, tenant, &upload, filename, kind, conversation).await
}

/// Makes an attachment of a finished upload.
pub async fn attach(
    app: &App,
    tenant: Tenant,
    upload: &Upload,
    filename: Option<&str>,
    kind: Option<&str>,
    conversation: Option<ConversationId>,
) -> Result<Attachment> {
    let attachment = from_upload(app, upload, filename, kind, conversation);
    let row = attachment.clone();
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                if let Some(conversation) = row.conversation_id
                    && !conversations::exists(tx, tenant, conversation).await?
                {
                    return Err(Error::NotFound("conversation"));
                }
                // Since it was looked up, the sweeper may have removed it.
                if !uploads::mark_used(tx, tenant, &row.blob_key, row.created_at).await? {
                    return Err(crate::uploads::unknown("file"));
                }
                attachments::insert(tx, tenant, &row).await
            })
        })
        .await?;
    Ok(attachment)
}

/// The row of a new attachment.
pub(crate) fn from_upload(
    app: &App,
    upload: &Upload,
    filename: Option<&str>,
    kind: Option<&str>,
    conversation: Option<ConversationId>,
) -> Attachment {
    let filename = filename.and_then(crate::uploads::clean_filename).unwrap_or_else(|| upload.filename.clone());
    let media_type = media_type(&filename);
    Attachment {
        id: app.new_id(),
        conversation_id: conversation,
        kind: kind_of(kind, media_type).to_owned(),
        media_type: media_type.to_owned(),
        filename,
        size: upload.size,
        blob_key: upload.blob_key.clone(),
        created_at: app.now(),
    }
}

/// One attachment.
pub async fn get(app: &App, tenant: Tenant, id: AttachmentId) -> Result<Attachment> {
    let mut tx = app.db.read(tenant).await?;
    attachments::get(&mut tx, tenant, id).await?.ok_or(Error::NotFound("attachment"))
}

/// A page of attachments.
pub async fn list(app: &App, tenant: Tenant, page: Page) -> Result<Listing<Attachment>> {
    let mut tx = app.db.read(tenant).await?;
    attachments::list(&mut tx, tenant, page).await
}

/// Removes an attachment. Messages that it went with keep its name.
pub async fn delete(app: &App, tenant: Tenant, id: AttachmentId) -> Result<()> {
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                let key = attachments::delete(tx, tenant, id).await?.ok_or(Error::NotFound("attachment"))?;
                uploads::release(tx, tenant, &key).await
            })
        })
        .await
}

/// The kind that was asked for, or the one that fits the media type.
fn kind_of(asked: Option<&str>, media_type: &str) -> &'static str {
    let known = ["image", "video", "audio", "sticker"];
    if let Some(kind) = asked.and_then(|asked| known.into_iter().find(|known| *known == asked)) {
        return kind;
    }
    // `other`, `file` and anything unknown leave the decision to the file itself.
    known[..3].iter().find(|kind| media_type.starts_with(**kind)).copied().unwrap_or("other")
}

/// Media type by extension. Ours, because it decides what a browser may do with the file.
pub fn media_type(filename: &str) -> &'static str {
    match crate::uploads::extension(filename).as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "m4a" => "audio/mp4",
        "ogg" => "audio/ogg",
        "webm" => "video/webm",
        "mp4" => "video/mp4",
        "pdf" => "application/pdf",
        "txt" | "md" => "text/plain; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "json" | "jsonl" => "application/json",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "pptx" => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        _ => "application/octet-stream",
    }
}

/// The picture of an attachment. `None` when its bytes are gone or more than `budget`, from which
/// they are taken: the pictures of one message share it.
pub(crate) async fn image(app: &App, attachment: &Attachment, budget: &mut u64) -> Option<Image> {
    if u64::try_from(attachment.size).ok()? > *budget {
        return None;
    }
    let bytes = app.blobs.read(&attachment.blob_key, *budget).await.ok()??;
    *budget = budget.saturating_sub(bytes.len() as u64);
    Some(Image { media_type: attachment.media_type.clone(), bytes: Bytes::from(bytes) })
}

/// The beginning of a document's text, or why there is none. Somebody waits for it, so it has a time
/// and a parser of its own.
pub(crate) async fn text(app: &App, attachment: &Attachment) -> Result<String, String> {
    // Dropping the parse ends its child.
    let read = tokio::time::timeout(app.settings.attachment_time, read(app, attachment)).await;
    read.unwrap_or_else(|_elapsed| Err(TOO_LATE.to_owned()))
}

async fn read(app: &App, attachment: &Attachment) -> Result<String, String> {
    let limit = app.settings.attachment_characters;
    let gone = "the file could not be opened";
    let file = app.blobs.open_file(&attachment.blob_key).await.map_err(|error| {
        tracing::error!(%error, attachment = %attachment.id, "an attachment could not be opened");
        gone.to_owned()
    })?;
    let file = file.ok_or_else(|| gone.to_owned())?.into_std().await;
    let (sender, mut events) = mpsc::channel(4);
    let options = ParseOptions { tesseract: app.settings.tesseract.clone(), ..ParseOptions::default() };
    let gather = async {
        let mut text = String::new();
        let mut characters = 0;
        while let Some(event) = events.recv().await {
            if let ParseEvent::Passages(passages) = event {
                for passage in passages {
                    characters += passage.text.chars().count() + 1;
                    if characters > limit {
                        text.push('…');
                        return text;
                    }
                    text.push_str(&passage.text);
                    text.push('\n');
                }
            }
        }
        text
    };
    // Dropping the parse, when there is text enough, ends its child.
    let parse = app.attachment_parser.parse(file, &attachment.filename, &options, sender);
    tokio::pin!(parse, gather);
    tokio::select! {
        text = &mut gather => Ok(text),
        parsed = &mut parse => match parsed {
            Ok(_) => Ok(gather.await),
            // What is said to people who upload knowledge does not fit here.
            Err(error) if error.kind == ParseErrorKind::TimedOut => Err(TOO_LATE.to_owned()),
            Err(error) => Err(error.reason),
        },
    }
}
