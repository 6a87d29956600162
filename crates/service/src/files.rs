//! Files of knowledge bases.

use parlance_domain::kind::{FileId, KnowledgeBaseId, ParserId};
use parlance_domain::{Error, FieldErrors, Id, Result, Tenant};
use parlance_ingestion::Format;
use parlance_retrieval::fold;
use parlance_storage::files::{self, File, Filter};
use parlance_storage::uploads::Upload;
use parlance_storage::{Listing, Page, Tx, jobs, knowledge_bases, passages, uploads};
use uuid::Uuid;

use crate::ingest::{self, Ingest};
use crate::{App, deletion};

/// Files of one request at most.
const MAX_FILES: usize = 1000;

/// The one parser there is; clients may name others, which mean the same.
pub const PARSER: ParserId = Id::from_uuid(Uuid::from_u128(0x0198_0000_0000_7000_8000_7061_726c_0001));

/// A file to add.
#[derive(Clone, Debug)]
pub struct NewFile {
    /// Storage key of a finished upload, its id, or one of our own file links.
    pub file: String,
    /// Its name; the upload's when absent.
    pub filename: Option<String>,
    /// Free-form metadata, verbatim JSON.
    pub raw_metadata: Option<String>,
}

/// Adds files of finished uploads to a base and queues their ingestion. All or none.
pub async fn create(app: &App, tenant: Tenant, base: KnowledgeBaseId, new: Vec<NewFile>) -> Result<Vec<File>> {
    if new.is_empty() || new.len() > MAX_FILES {
        return Err(Error::field("files", format!("Give 1 to {MAX_FILES} files.")));
    }
    let mut resolved: Vec<(Upload, NewFile)> = Vec::with_capacity(new.len());
    {
        let mut tx = app.db.read(tenant).await?;
        knowledge_bases::get(&mut tx, tenant, base).await?.ok_or(Error::NotFound("knowledge base"))?;
        let mut errors = FieldErrors::default();
        for (position, file) in new.into_iter().enumerate() {
            match crate::uploads::resolve(app, &mut tx, tenant, &file.file).await? {
                Some(upload) => resolved.push((upload, file)),
                None => errors.add(format!("files.{position}.file"), crate::uploads::UNKNOWN),
            }
        }
        errors.finish()?;
    }
    let now = app.now();
    let rows: Vec<File> = resolved
        .into_iter()
        .map(|(upload, new)| {
            let filename = new.filename.as_deref().and_then(crate::uploads::clean_filename).unwrap_or(upload.filename);
            File {
                id: app.new_id(),
                organisation: tenant.organisation(),
                knowledge_base_id: base,
                filename_folded: fold(&filename),
                file_type: crate::uploads::extension(&filename),
                filename,
                size: upload.size,
                blob_key: upload.blob_key,
                status: "initial".to_owned(),
                stage: "waiting".to_owned(),
                progress_done: 0,
                progress_total: 0,
                failure: None,
                parser_id: PARSER,
                embedding_model_id: None,
                generation: 0,
                next_generation: 1,
                characters: 0,
                passages_count: 0,
                raw_metadata: new.raw_metadata,
                created_at: now,
                updated_at: now,
            }
        })
        .collect();
    let stored = rows.clone();
    let writer = app.clone();
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                for (position, file) in stored.iter().enumerate() {
                    // Since it was looked up, the sweeper may have removed it.
                    if !uploads::mark_used(tx, tenant, &file.blob_key, now).await? {
                        return Err(crate::uploads::unknown(format!("files.{position}.file")));
                    }
                    files::insert(tx, tenant, file).await?;
                    let work = Ingest { knowledge_base: base, file: file.id, generation: 1 };
                    ingest::enqueue(tx, &writer, tenant, work).await?;
                }
                Ok(())
            })
        })
        .await?;
    app.job_bell.notify_one();
    Ok(rows)
}

/// Whether there is such a knowledge base, for requests that name its files in their body.
pub async fn check_base(app: &App, tenant: Tenant, base: KnowledgeBaseId) -> Result<()> {
    let mut tx = app.db.read(tenant).await?;
    knowledge_bases::get(&mut tx, tenant, base).await?.ok_or(Error::NotFound("knowledge base")).map(drop)
}

/// One file of a base.
pub async fn get(app: &App, tenant: Tenant, base: KnowledgeBaseId, id: FileId) -> Result<File> {
    let mut tx = app.db.read(tenant).await?;
    files::get(&mut tx, tenant, base, id).await?.ok_or(Error::NotFound("file"))
}

/// A page of a base's files.
pub async fn list(
    app: &App,
    tenant: Tenant,
    base: KnowledgeBaseId,
    filter: &Filter,
    page: Page,
) -> Result<Listing<File>> {
    let mut tx = app.db.read(tenant).await?;
    knowledge_bases::get(&mut tx, tenant, base).await?.ok_or(Error::NotFound("knowledge base"))?;
    files::list(&mut tx, tenant, base, filter, page).await
}

/// Renames a file or changes its metadata; `None` leaves a value, `Some(None)` clears it.
pub async fn update(
    app: &App,
    tenant: Tenant,
    (base, id): (KnowledgeBaseId, FileId),
    filename: Option<String>,
    raw_metadata: Option<Option<String>>,
) -> Result<File> {
    let mut file = get(app, tenant, base, id).await?;
    if let Some(filename) = filename {
        file.filename = crate::uploads::clean_filename(&filename)
            .ok_or_else(|| Error::field("filename", "This field may not be blank."))?;
        file.filename_folded = fold(&file.filename);
    }
    if let Some(raw_metadata) = raw_metadata {
        file.raw_metadata = raw_metadata;
    }
    file.updated_at = app.now();
    let row = file.clone();
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                let names = (row.filename.as_str(), row.filename_folded.as_str());
                files::describe(tx, tenant, row.id, names, row.raw_metadata.as_deref(), row.updated_at).await
            })
        })
        .await?;
    Ok(file)
}

/// Removes files of a base: hidden at once, and a job removes what they hold. Unknown ids are 404 for one
/// and 400 for a list, before anything is removed.
pub async fn delete(app: &App, tenant: Tenant, base: KnowledgeBaseId, ids: Vec<FileId>) -> Result<()> {
    let writer = app.clone();
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                for id in ids {
                    files::get(tx, tenant, base, id).await?.ok_or(Error::NotFound("file"))?;
                    deletion::begin_file(tx, &writer, tenant, base, id).await?;
                }
                Ok(())
            })
        })
        .await?;
    app.index_bell.notify_one();
    app.job_bell.notify_one();
    Ok(())
}

/// Parses files again. What is searchable stays so until the new passages are ready.
pub async fn reparse(app: &App, tenant: Tenant, base: KnowledgeBaseId, ids: Vec<FileId>) -> Result<Vec<File>> {
    let writer = app.clone();
    let files = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                let mut reparsed = Vec::with_capacity(ids.len());
                for (position, id) in ids.into_iter().enumerate() {
                    let unknown =
                        || Error::field(format!("{position}.id"), "No file of this knowledge base has this id.");
                    files::get(tx, tenant, base, id).await?.ok_or_else(unknown)?;
                    begin(tx, &writer, tenant, base, id).await?;
                    reparsed.push(files::get(tx, tenant, base, id).await?.ok_or_else(unknown)?);
                }
                Ok(reparsed)
            })
        })
        .await?;
    app.job_bell.notify_one();
    Ok(files)
}

/// Starts a new generation of a file's passages.
pub(crate) async fn begin(tx: &mut Tx, app: &App, tenant: Tenant, base: KnowledgeBaseId, id: FileId) -> Result<()> {
    // A worker that holds the old job loses it. Locked before the file, as the worker does.
    jobs::remove(tx, tenant, &ingest::unique_key(id)).await?;
    if let Some(generation) = files::begin_generation(tx, tenant, id, PARSER, app.now()).await? {
        ingest::enqueue(tx, app, tenant, Ingest { knowledge_base: base, file: id, generation }).await?;
    }
    Ok(())
}

/// A page of a file's passages.
pub async fn passages(app: &App, tenant: Tenant, id: FileId, page: Page) -> Result<Listing<passages::Passage>> {
    let mut tx = app.db.read(tenant).await?;
    files::find(&mut tx, tenant, id).await?.ok_or(Error::NotFound("file"))?;
    passages::list(&mut tx, tenant, id, page).await
}

/// Extensions that can be ingested.
pub fn allowed_extensions() -> Vec<&'static str> {
    Format::supported_extensions().collect()
}
