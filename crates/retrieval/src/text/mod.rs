//! The full-text index: one for all organisations, on disk, in process.
//!
//! [`TextIndex::apply`] and [`TextIndex::search`] block: the first for as long as the disk needs,
//! the second for a fraction of a millisecond in an ordinary knowledge base.

mod schema;
mod search;
mod snapshot;
mod tokens;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};

use parlance_domain::kind::{FileId, KnowledgeBaseId, OrganisationId, PassageId};
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy, NoMergePolicy};
use tantivy::query::{BooleanQuery, Occur, Query, TermQuery};
use tantivy::schema::IndexRecordOption;
use tantivy::store::Compressor;
use tantivy::{Index, IndexReader, IndexSettings, IndexWriter, ReloadPolicy, TantivyDocument, Term};

use self::schema::{FORMAT, Fields, TOKENIZER};
pub use self::search::{TextHit, TextResults};
use self::snapshot::Snapshot;
use self::tokens::KeyedTokenizer;
use crate::error::Result;
use crate::scope::{Source, bits};

/// Working memory of the writer in bytes, while it exists.
const WRITER_MEMORY: usize = 20_000_000;
/// Segments below this many passages count as equally small when they are merged.
const SMALL_SEGMENT: u32 = 300;
/// Segments of about the same size that are merged into one.
const SEGMENTS_TO_MERGE: usize = 6;
/// Segments within this power of two of each other are of about the same size.
const SIZE_STEP: f64 = 2.0;
/// When at rest, an index of at most this many passages is made one segment.
const PASSAGES_IN_ONE_SEGMENT: u64 = 200_000;
/// Indexes up to this size in bytes are compared with their checksums when opened.
const VERIFIED_SIZE: u64 = 256 << 20;

/// A passage as it is indexed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedPassage {
    /// The organisation that owns the knowledge base.
    pub organisation: OrganisationId,
    /// The knowledge base.
    pub base: KnowledgeBaseId,
    /// The file or FAQ entry it belongs to.
    pub source: Source,
    /// The generation of the source's passages that it belongs to.
    pub generation: u64,
    /// Its id; indexing a passage again replaces it.
    pub passage: PassageId,
    /// Its text.
    pub text: String,
    /// Headings above it, searched like its text.
    pub heading: Option<String>,
}

/// A change of the index. Applying changes again that were applied before, in the same order, leaves
/// the index as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds a passage or replaces the one with its id.
    Put(IndexedPassage),
    /// Removes one passage.
    RemovePassage(PassageId),
    /// Removes every passage of a file or FAQ entry.
    RemoveSource(Source),
    /// Removes the passages of all generations of a file or FAQ entry but `keep`.
    RemoveOtherGenerations {
        /// The file or FAQ entry.
        source: Source,
        /// The generation that stays.
        keep: u64,
    },
    /// Removes everything of a knowledge base.
    RemoveBase(KnowledgeBaseId),
    /// Removes everything of an organisation.
    RemoveOrganisation(OrganisationId),
}

impl Change {
    /// Removes every passage of `file`.
    pub fn remove_file(file: FileId) -> Self {
        Self::RemoveSource(Source::File(file))
    }
}

/// An opened index and how far it had come.
#[derive(Debug)]
pub struct OpenedText {
    /// The index.
    pub index: TextIndex,
    /// The watermark of the last [`TextIndex::apply`]; 0 before the first. `None`: the index was made
    /// just now and must be filled from the database.
    pub watermark: Option<u64>,
    /// Where an index went that could not be used, and why.
    pub moved_aside: Option<(PathBuf, String)>,
}

/// State of a full-text index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextHealth {
    /// Passages that can be found.
    pub passages: u64,
    /// Parts that each search visits.
    pub segments: usize,
    /// Size on disk in bytes.
    pub bytes: u64,
    /// Whether the writer and its memory exist at the moment; true while it works.
    pub writer_open: bool,
}

/// The full-text index. See the module documentation.
pub struct TextIndex {
    index: Index,
    fields: Fields,
    reader: IndexReader,
    snapshot: RwLock<Arc<Snapshot>>,
    writer: Mutex<Option<IndexWriter>>,
}

impl std::fmt::Debug for TextIndex {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TextIndex").finish_non_exhaustive()
    }
}

impl TextIndex {
    /// Opens the index in `directory`, or makes an empty one. An index that is damaged or of another
    /// format is moved to `<directory>.unusable` and replaced by an empty one.
    ///
    /// # Errors
    /// When the directory cannot be made, moved or written.
    pub fn open(directory: &Path) -> Result<OpenedText> {
        std::fs::create_dir_all(directory)?;
        let mut moved_aside = None;
        if directory.join("meta.json").exists() {
            match Self::open_existing(directory) {
                Ok((index, watermark)) => {
                    return Ok(OpenedText { index, watermark: Some(watermark), moved_aside: None });
                }
                Err(reason) => {
                    tracing::warn!(%reason, "full-text index cannot be used, starting with an empty one");
                    moved_aside = Some((move_aside(directory)?, reason));
                }
            }
        } else if std::fs::read_dir(directory)?.next().is_some() {
            moved_aside = Some((move_aside(directory)?, "incomplete".to_owned()));
        }
        let (schema, fields) = schema::schema();
        let settings = IndexSettings {
            docstore_compression: Compressor::None,
            docstore_compress_dedicated_thread: false,
            ..IndexSettings::default()
        };
        let index = Index::builder().schema(schema).settings(settings).create_in_dir(directory)?;
        let index = Self::over(index, fields)?;
        // Marks the format, so that an index that is opened again before its first change is known.
        let mut writer = index.make_writer()?;
        index.write(&mut writer, &[], 0)?;
        writer.wait_merging_threads()?;
        index.show()?;
        Ok(OpenedText { index, watermark: None, moved_aside })
    }

    fn open_existing(directory: &Path) -> Result<(Self, u64), String> {
        let index = Index::open_in_dir(directory).map_err(|error| error.to_string())?;
        let (schema, fields) = schema::schema();
        let metas = index.load_metas().map_err(|error| error.to_string())?;
        let watermark = metas.payload.as_deref().and_then(read_payload).ok_or("of another format")?;
        if index.schema() != schema {
            return Err("with other fields".to_owned());
        }
        if size_of(directory) <= VERIFIED_SIZE {
            let damaged = index.validate_checksum().map_err(|error| error.to_string())?;
            if !damaged.is_empty() {
                return Err(format!("{} damaged files", damaged.len()));
            }
        }
        let opened = Self::over(index, fields).map_err(|error| error.to_string())?;
        Ok((opened, watermark))
    }

    fn over(index: Index, fields: Fields) -> Result<Self> {
        index.tokenizers().register(TOKENIZER, KeyedTokenizer::default());
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        let snapshot = Snapshot::of(&reader, &fields)?;
        Ok(Self { index, fields, reader, snapshot: RwLock::new(Arc::new(snapshot)), writer: Mutex::new(None) })
    }

    /// Applies `changes` in order, all or nothing, durably and visibly to every later search.
    /// `watermark` is what [`TextIndex::open`] reports from then on. One call with many changes is
    /// far quicker than many calls.
    ///
    /// # Errors
    /// When the index cannot be written; then nothing was applied.
    pub fn apply(&self, changes: &[Change], watermark: u64) -> Result<()> {
        let mut slot = self.lock_writer();
        let mut writer = match slot.take() {
            Some(writer) => writer,
            None => self.make_writer()?,
        };
        // A writer that failed is dropped, and with it what it had not committed.
        self.write(&mut writer, changes, watermark)?;
        *slot = Some(writer);
        self.show()
    }

    fn make_writer(&self) -> Result<IndexWriter> {
        let options = IndexWriterOptions::builder()
            .memory_budget_per_thread(WRITER_MEMORY)
            .num_worker_threads(1)
            .num_merge_threads(1)
            .build();
        let writer: IndexWriter = self.index.writer_with_options(options)?;
        let mut merging = LogMergePolicy::default();
        merging.set_min_num_segments(SEGMENTS_TO_MERGE);
        merging.set_min_layer_size(SMALL_SEGMENT);
        merging.set_level_log_size(SIZE_STEP);
        merging.set_del_docs_ratio_before_merge(0.3);
        writer.set_merge_policy(Box::new(merging));
        Ok(writer)
    }

    fn write(&self, writer: &mut IndexWriter, changes: &[Change], watermark: u64) -> Result<()> {
        let committed = self.snapshot();
        let mut put: HashSet<u128> = HashSet::new();
        for change in changes {
            match change {
                Change::Put(passage) => {
                    let id = bits(passage.passage);
                    let term = schema::id_term(self.fields.passage, id);
                    // Deletions make every segment look for the term at commit; most passages are new.
                    if !put.insert(id) || committed.contains(&term)? {
                        writer.delete_term(term);
                    }
                    writer.add_document(self.document(passage))?;
                }
                Change::RemovePassage(passage) => {
                    writer.delete_term(schema::id_term(self.fields.passage, bits(*passage)));
                }
                Change::RemoveSource(source) => {
                    writer.delete_term(self.source_term(*source));
                }
                Change::RemoveOtherGenerations { source, keep } => {
                    writer.delete_query(self.other_generations(*source, *keep))?;
                }
                Change::RemoveBase(base) => {
                    writer.delete_term(schema::id_term(self.fields.base, bits(*base)));
                }
                Change::RemoveOrganisation(organisation) => {
                    writer.delete_term(schema::id_term(self.fields.organisation, bits(*organisation)));
                }
            }
        }
        let mut commit = writer.prepare_commit()?;
        commit.set_payload(&format!("{FORMAT} {watermark}"));
        commit.commit()?;
        Ok(())
    }

    fn document(&self, passage: &IndexedPassage) -> TantivyDocument {
        let fields = &self.fields;
        let key = schema::key_of(passage.organisation, passage.base);
        let (kind, source) = passage.source.parts();
        let mut document = TantivyDocument::default();
        let texts = passage.heading.iter().chain([&passage.text]);
        for text in texts.filter(|text| !text.is_empty()) {
            let mut keyed = String::with_capacity(key.len() + text.len());
            keyed.push_str(&key);
            keyed.push_str(text);
            document.add_text(fields.text, keyed);
        }
        let organisation = bits(passage.organisation);
        let base = bits(passage.base);
        let id = bits(passage.passage);
        document.add_bytes(fields.organisation, &organisation.to_be_bytes());
        document.add_bytes(fields.base, &base.to_be_bytes());
        document.add_bytes(fields.source, &schema::source_bytes(passage.source));
        document.add_bytes(fields.source_generation, &schema::generation_bytes(passage.source, passage.generation));
        document.add_bytes(fields.passage, &id.to_be_bytes());
        document.add_u64(fields.source_kind, kind);
        for ((high, low), number) in fields.halves.into_iter().zip([organisation, base, source, id]) {
            let (upper, lower) = halves_of(number);
            document.add_u64(high, upper);
            document.add_u64(low, lower);
        }
        document
    }

    fn source_term(&self, source: Source) -> Term {
        Term::from_field_bytes(self.fields.source, &schema::source_bytes(source))
    }

    fn other_generations(&self, source: Source, keep: u64) -> Box<dyn Query> {
        let kept = Term::from_field_bytes(self.fields.source_generation, &schema::generation_bytes(source, keep));
        let term_query = |term| -> Box<dyn Query> { Box::new(TermQuery::new(term, IndexRecordOption::Basic)) };
        Box::new(BooleanQuery::new(vec![
            (Occur::Must, term_query(self.source_term(source))),
            (Occur::MustNot, term_query(kept)),
        ]))
    }

    /// Gives back the writer's threads and memory, and tidies a small index into one segment. For the
    /// task that calls [`TextIndex::apply`], when it has had nothing to do for some seconds.
    ///
    /// # Errors
    /// When the index cannot be written; searches go on with what there was.
    pub fn rest(&self) -> Result<()> {
        let mut slot = self.lock_writer();
        let Some(writer) = slot.take() else {
            return Ok(());
        };
        writer.wait_merging_threads()?;
        let segments = self.index.searchable_segment_metas()?;
        let passages: u64 = segments.iter().map(|segment| u64::from(segment.num_docs())).sum();
        let has_deletes = segments.iter().any(tantivy::SegmentMeta::has_deletes);
        if (segments.len() > 1 || has_deletes) && passages <= PASSAGES_IN_ONE_SEGMENT {
            // A new writer, because the old one's merges had to end first.
            let mut writer = self.make_writer()?;
            writer.set_merge_policy(Box::new(NoMergePolicy));
            let ids: Vec<_> = segments.iter().map(tantivy::SegmentMeta::id).collect();
            writer.merge(&ids).wait()?;
            writer.wait_merging_threads()?;
        }
        self.show()
    }

    /// How many passages can be found, and in how many segments.
    ///
    /// # Errors
    /// When the state on disk cannot be read.
    pub fn health(&self) -> Result<TextHealth> {
        let snapshot = self.snapshot();
        let space = self.reader.searcher().space_usage()?;
        Ok(TextHealth {
            passages: snapshot.passages(),
            segments: snapshot.segments.len(),
            bytes: space.total().get_bytes(),
            // Never waits: the writer holds its lock for as long as a commit takes.
            writer_open: match self.writer.try_lock() {
                Ok(slot) => slot.is_some(),
                Err(TryLockError::Poisoned(slot)) => slot.into_inner().is_some(),
                Err(TryLockError::WouldBlock) => true,
            },
        })
    }

    fn show(&self) -> Result<()> {
        self.reader.reload()?;
        let snapshot = Arc::new(Snapshot::of(&self.reader, &self.fields)?);
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
        Ok(())
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn lock_writer(&self) -> MutexGuard<'_, Option<IndexWriter>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves of the number")]
fn halves_of(number: u128) -> (u64, u64) {
    ((number >> 64) as u64, number as u64)
}

fn read_payload(payload: &str) -> Option<u64> {
    let (format, watermark) = payload.split_once(' ')?;
    if format.parse::<u32>().ok()? != FORMAT {
        return None;
    }
    watermark.parse().ok()
}

fn size_of(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries.filter_map(|entry| entry.ok()?.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Moves `directory` to `<directory>.unusable` in place of what was there, and makes it anew.
pub(crate) fn move_aside(directory: &Path) -> Result<PathBuf> {
    let mut name = directory.as_os_str().to_owned();
    name.push(".unusable");
    let target = PathBuf::from(name);
    if target.exists() {
        std::fs::remove_dir_all(&target)?;
    }
    std::fs::rename(directory, &target)?;
    std::fs::create_dir_all(directory)?;
    Ok(target)
}
