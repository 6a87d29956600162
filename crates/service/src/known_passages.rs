//! Passages that were found a moment ago, kept in memory.
//!
//! What a passage is made of never changes under its id, so it need not be read and analysed again for
//! every question. What may change is asked of the database every time: whether its file is there, may be seen
//! by this organisation, and still has the passage in its searchable generation.
//!
//! How often a passage was cited is counted here too; citations that another node counted are seen when
//! the passage is read again, within [`KEPT`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use parlance_domain::kind::{FileId, OrganisationId, PassageId};
use parlance_domain::{Result, Tenant};
use parlance_retrieval::PassageTerms;
use parlance_storage::Tx;
use parlance_storage::passages::{self, Passage, PassageContent};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::around::Around;

/// Bytes of passages with their terms, estimated.
const PASSAGE_BYTES: u64 = 16 << 20;
/// Bytes of sentences around passages, estimated.
const AROUND_BYTES: u64 = 4 << 20;
/// What an entry takes beside its texts, roughly: itself, its key, and its place in the cache.
const ENTRY_BYTES: usize = 256;
/// About how many entries there will be of each kind; more are no fault.
const ENTRIES: usize = 2_000;
/// For so long a passage is not read again.
const KEPT: Duration = Duration::from_mins(1);

/// A passage, and where it is found.
#[derive(Debug)]
struct Known {
    read_at: Instant,
    organisation: OrganisationId,
    file: FileId,
    generation: i64,
    hits_count: AtomicI64,
    content: Arc<PassageContent>,
    terms: Arc<PassageTerms>,
}

impl Known {
    fn new(tenant: Tenant, Passage { content, hits_count, file }: &Passage) -> Self {
        Self {
            read_at: Instant::now(),
            organisation: tenant.organisation(),
            file: file.id,
            generation: file.generation,
            hits_count: AtomicI64::new(*hits_count),
            content: Arc::clone(content),
            terms: Arc::new(PassageTerms::of(&content.text)),
        }
    }

    /// Whether it can be told to this organisation without reading it again.
    fn is_good_for(&self, tenant: Tenant) -> bool {
        self.organisation == tenant.organisation() && self.read_at.elapsed() < KEPT
    }

    fn bytes(&self) -> usize {
        self.content.text.len() + self.content.heading.as_ref().map_or(0, String::len) + self.terms.memory()
    }
}

/// What an entry takes in memory.
#[derive(Clone, Copy, Debug)]
struct Bytes;

impl Weighter<PassageId, Arc<Known>> for Bytes {
    fn weight(&self, _: &PassageId, known: &Arc<Known>) -> u64 {
        (ENTRY_BYTES + known.bytes()) as u64
    }
}

impl Weighter<(PassageId, usize), Arc<Around>> for Bytes {
    fn weight(&self, _: &(PassageId, usize), around: &Arc<Around>) -> u64 {
        (ENTRY_BYTES + around.before.len() + around.after.len()) as u64
    }
}

/// Passages that were found a moment ago, and the sentences around them.
#[derive(Debug)]
pub struct KnownPassages {
    passages: Cache<PassageId, Arc<Known>, Bytes>,
    /// By passage and number of sentences.
    around: Cache<(PassageId, usize), Arc<Around>, Bytes>,
}

impl Default for KnownPassages {
    fn default() -> Self {
        Self {
            passages: Cache::with_weighter(ENTRIES, PASSAGE_BYTES, Bytes),
            around: Cache::with_weighter(ENTRIES, AROUND_BYTES, Bytes),
        }
    }
}

impl KnownPassages {
    /// The searchable ones of these passages with their terms, in no particular order, as
    /// [`passages::searchable`] finds them.
    pub(crate) async fn searchable(
        &self,
        tx: &mut Tx,
        tenant: Tenant,
        ids: &[PassageId],
    ) -> Result<Vec<(Passage, Arc<PassageTerms>)>> {
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for id in ids {
            match self.passages.get(id) {
                Some(passage) if passage.is_good_for(tenant) => known.push(passage),
                _ => unknown.push(*id),
            }
        }
        let files: HashSet<FileId> = known.iter().map(|passage| passage.file).collect();
        let files = passages::files(tx, tenant, &Vec::from_iter(files)).await?;
        let files: HashMap<FileId, _> = files.into_iter().map(|file| (file.id, file)).collect();
        let known = known.iter().filter_map(|known| {
            let file = files.get(&known.file).filter(|file| file.generation == known.generation)?;
            let hits_count = known.hits_count.load(Ordering::Relaxed);
            let passage = Passage { content: Arc::clone(&known.content), hits_count, file: file.clone() };
            Some((passage, Arc::clone(&known.terms)))
        });
        let read = passages::searchable(tx, tenant, &unknown).await?.into_iter().map(|passage| {
            let known = Arc::new(Known::new(tenant, &passage));
            self.passages.insert(passage.content.id, Arc::clone(&known));
            (passage, Arc::clone(&known.terms))
        });
        Ok(known.chain(read).collect())
    }

    /// The sentences around each of these searchable passages, so many of them on each side.
    pub(crate) async fn around(
        &self,
        tx: &mut Tx,
        tenant: Tenant,
        wanted: &[(&Passage, usize)],
    ) -> Result<HashMap<PassageId, Arc<Around>>> {
        let mut found = HashMap::with_capacity(wanted.len());
        let mut unknown: Vec<(&Passage, usize)> = Vec::new();
        for (passage, sentences) in wanted {
            match self.around.get(&(passage.content.id, *sentences)) {
                Some(around) => drop(found.insert(passage.content.id, around)),
                None => unknown.push((passage, *sentences)),
            }
        }
        let read: Vec<&Passage> = unknown.iter().map(|(passage, _)| *passage).collect();
        let texts = passages::neighbours(tx, tenant, &read).await?;
        let by_place: HashMap<(FileId, i64), &str> =
            texts.iter().map(|(file, ordinal, text)| ((*file, *ordinal), text.as_str())).collect();
        for (passage, sentences) in unknown {
            let at = |ordinal| by_place.get(&(passage.file.id, ordinal)).copied().unwrap_or_default();
            let (before, after) = (at(passage.content.ordinal - 1), at(passage.content.ordinal + 1));
            let around = Arc::new(Around::new(before, after, sentences));
            self.around.insert((passage.content.id, sentences), Arc::clone(&around));
            found.insert(passage.content.id, around);
        }
        Ok(found)
    }

    /// Counts a citation of each passage, as the database has.
    pub(crate) fn count_hits(&self, ids: &[PassageId]) {
        for passage in ids.iter().filter_map(|id| self.passages.get(id)) {
            passage.hits_count.fetch_add(1, Ordering::Relaxed);
        }
    }
}
