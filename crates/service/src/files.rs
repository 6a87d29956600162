//! Files of knowledge bases.

use parlance_domain::kind::{FileId, KnowledgeBaseId, ParserId};
use parlance_domain::{Error, FieldErrors, Id, Principal, Result, Tenant};
use parlance_ingestion::Format;
use parlance_retrieval::fold;
use parlance_storage::files::{self, File, Filter};
use parlance_storage::row_lock::{Row, lock};
use parlance_storage::uploads::Upload;
use parlance_storage::{Listing, Page, Tx, jobs, knowledge_bases, labels as label_rows, passages, uploads};
use uuid::Uuid;

use crate::further_scopes::Use;
use crate::ingest::{self, Ingest};
use crate::labels::{self, LabelRef, Labelled};
use crate::place::Place;
use crate::{App, deletion};

/// Files of one request at most.
const MAX_FILES: usize = 1000;
/// Bytes of free-form metadata.
const MAX_METADATA: usize = 64 << 10;

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
    /// The labels it carries.
    pub labels: Vec<LabelRef>,
}

/// What is asked of a file; `None` leaves a value as it is.
#[derive(Clone, Debug, Default)]
pub struct FileChange {
    /// Its name.
    pub filename: Option<String>,
    /// Free-form metadata, verbatim JSON. `Some(None)` clears it.
    pub raw_metadata: Option<Option<String>>,
    /// The labels it carries.
    pub labels: Option<Vec<LabelRef>>,
}

/// Checks the length of free-form metadata.
pub(crate) fn check_metadata(path: &str, raw_metadata: Option<&str>) -> Result<()> {
    if raw_metadata.is_some_and(|text| text.len() > MAX_METADATA) {
        return Err(Error::field(path, format!("Ensure this field has no more than {MAX_METADATA} bytes.")));
    }
    Ok(())
}

/// Adds files of finished uploads to a base and queues their ingestion. All or none.
pub async fn create(
    app: &App,
    principal: &Principal,
    base: KnowledgeBaseId,
    new: Vec<NewFile>,
) -> Result<Vec<Labelled<File>>> {
    let tenant = principal.tenant;
    if new.is_empty() || new.len() > MAX_FILES {
        return Err(Error::field("files", format!("Give 1 to {MAX_FILES} files.")));
    }
    let mut resolved: Vec<(Upload, NewFile)> = Vec::with_capacity(new.len());
    {
        let mut tx = app.db.read(tenant).await?;
        knowledge_bases::get(&mut tx, tenant, base).await?.ok_or(Error::NotFound("knowledge base"))?;
        let mut errors = FieldErrors::default();
        for (position, file) in new.into_iter().enumerate() {
            check_metadata(&format!("files.{position}.rawUserDefineMetadata"), file.raw_metadata.as_deref())?;
            match crate::uploads::resolve(app, &mut tx, tenant, (principal.scopes, Use::File), &file.file).await? {
                Some(upload) => resolved.push((upload, file)),
                None => errors.add(format!("files.{position}.file"), crate::uploads::UNKNOWN),
            }
        }
        errors.finish()?;
    }
    let now = app.now();
    let rows: Vec<(File, Vec<LabelRef>)> = resolved
        .into_iter()
        .map(|(upload, new)| {
            let filename = new.filename.as_deref().and_then(crate::uploads::clean_filename).unwrap_or(upload.filename);
            let file = File {
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
            };
            (file, new.labels)
        })
        .collect();
    let writer = app.clone();
    let made = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                let mut made = Vec::with_capacity(rows.len());
                for (position, (file, named)) in rows.into_iter().enumerate() {
                    // Since it was looked up, the sweeper may have removed it.
                    if !uploads::mark_used(tx, tenant, &file.blob_key, now).await? {
                        return Err(crate::uploads::unknown(format!("files.{position}.file")));
                    }
                    files::insert(tx, tenant, &file).await?;
                    if !named.is_empty() {
                        let path = format!("files.{position}.labels");
                        let ids = labels::resolve(tx, &writer, tenant, base, (&named, &path)).await?;
                        label_rows::set_of_file(tx, tenant, file.id, &ids).await?;
                    }
                    let work = Ingest { knowledge_base: base, file: file.id, generation: 1 };
                    ingest::enqueue(tx, &writer, tenant, work).await?;
                    made.push(file);
                }
                labels::of_files(tx, tenant, made).await
            })
        })
        .await?;
    // Labels may have been made.
    app.plans.forget(tenant);
    app.job_bell.notify_one();
    Ok(made)
}

/// The file, if it is of that place.
async fn find(tx: &mut Tx, tenant: Tenant, place: Place, id: FileId) -> Result<File> {
    if let Place::Base(base) = place {
        return files::get(tx, tenant, base, id).await?.ok_or(Error::NotFound("file"));
    }
    let bases = place.bases(tx, tenant).await?;
    let file = files::find(tx, tenant, id).await?;
    file.filter(|file| bases.contains(&file.knowledge_base_id)).ok_or(Error::NotFound("file"))
}

async fn shown(tx: &mut Tx, tenant: Tenant, file: File) -> Result<Labelled<File>> {
    let mut shown = labels::of_files(tx, tenant, vec![file]).await?;
    shown.pop().ok_or_else(|| Error::bug("a file that was just read"))
}

/// One file.
pub async fn get(app: &App, tenant: Tenant, place: Place, id: FileId) -> Result<Labelled<File>> {
    let mut tx = app.db.read(tenant).await?;
    let file = find(&mut tx, tenant, place, id).await?;
    shown(&mut tx, tenant, file).await
}

/// A page of files.
pub async fn list(
    app: &App,
    tenant: Tenant,
    place: Place,
    filter: &Filter,
    page: Page,
) -> Result<Listing<Labelled<File>>> {
    let mut tx = app.db.read(tenant).await?;
    let bases = place.bases(&mut tx, tenant).await?;
    let listing = files::list(&mut tx, tenant, &bases, filter, page).await?;
    Ok(Listing { rows: labels::of_files(&mut tx, tenant, listing.rows).await?, total: listing.total })
}

/// Renames a file, or changes its metadata or labels.
pub async fn update(app: &App, tenant: Tenant, place: Place, id: FileId, change: FileChange) -> Result<Labelled<File>> {
    let filename = match &change.filename {
        Some(filename) => Some(
            crate::uploads::clean_filename(filename)
                .ok_or_else(|| Error::field("filename", "This field may not be blank."))?,
        ),
        None => None,
    };
    check_metadata("rawUserDefineMetadata", change.raw_metadata.as_ref().and_then(Option::as_deref))?;
    let (writer, now) = (app.clone(), app.now());
    let changed = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                lock(tx, tenant, Row::File(id)).await?;
                let mut file = find(tx, tenant, place, id).await?;
                if let Some(filename) = filename {
                    file.filename_folded = fold(&filename);
                    file.filename = filename;
                }
                if let Some(raw_metadata) = change.raw_metadata {
                    file.raw_metadata = raw_metadata;
                }
                file.updated_at = now;
                let names = (file.filename.as_str(), file.filename_folded.as_str());
                files::describe(tx, tenant, id, names, file.raw_metadata.as_deref(), now).await?;
                if let Some(named) = change.labels {
                    let base = file.knowledge_base_id;
                    let ids = labels::resolve(tx, &writer, tenant, base, (&named, "labels")).await?;
                    label_rows::set_of_file(tx, tenant, id, &ids).await?;
                }
                shown(tx, tenant, file).await
            })
        })
        .await?;
    // Labels may have been made.
    app.plans.forget(tenant);
    Ok(changed)
}

/// Removes files, all or none: hidden at once, and a job removes what they hold. An unknown one is not
/// found.
pub async fn delete(app: &App, tenant: Tenant, place: Place, ids: Vec<FileId>) -> Result<()> {
    let writer = app.clone();
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                for id in ids {
                    let file = find(tx, tenant, place, id).await?;
                    deletion::begin_file(tx, &writer, tenant, file.knowledge_base_id, id).await?;
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
pub async fn reparse(
    app: &App,
    tenant: Tenant,
    base: KnowledgeBaseId,
    ids: Vec<FileId>,
) -> Result<Vec<Labelled<File>>> {
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
                labels::of_files(tx, tenant, reparsed).await
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
