//! The vector index: cosine similarity, one partition per knowledge base and embedding generation.
//!
//! Every vector is stored once, and searched exactly, until its partition is large: then
//! [`VectorIndex::optimise`] builds a graph (HNSW) over it, and a search takes the graph for what it
//! covers and the exact way for what came later. A search therefore sees every applied change at
//! once. The database keeps the vectors too; what this index loses can be put in again.

mod search;
mod tables;

use std::path::{Path, PathBuf};

use hannoy::distances::Cosine;
use heed::types::DecodeIgnore;
use heed::{CommitOrAbort, Env, EnvOpenOptions, RoTxn, RwTxn, WithoutTls};
use parlance_domain::kind::{KnowledgeBaseId, OrganisationId, PassageId};
use rand::SeedableRng;
use rand::rngs::SmallRng;

pub use self::search::VectorHit;
use self::tables::{Item, Slot, Tables, encode_item, item_key, passage_key, source_item_key};
use crate::error::{Error, Result};
use crate::scope::{Source, bits};
use crate::text::move_aside;

/// Changes whenever the tables or their meaning do; a database of another version is rebuilt.
const FORMAT: u64 = 1;
/// Address space reserved for the database, in bytes: the most it can grow to. Costs no memory.
const MAP_SIZE: usize = 64 << 30;
/// Partitions, or parts of one, up to this many vectors are searched exactly.
const EXACT_BELOW: u64 = 5_000;
/// Candidates the graph keeps while it is built.
const BUILD_EFFORT: usize = 128;

/// A passage's vector as it is indexed.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexedVector {
    /// The organisation that owns the knowledge base.
    pub organisation: OrganisationId,
    /// The knowledge base.
    pub base: KnowledgeBaseId,
    /// The generation of the base's embeddings: a new model begins a new one.
    pub embeddings: u64,
    /// The file or FAQ entry the passage belongs to.
    pub source: Source,
    /// The generation of the source's passages that it belongs to.
    pub generation: u64,
    /// The passage; its vector of the same embeddings is replaced.
    pub passage: PassageId,
    /// Any length but as many numbers as the others of base and embeddings. A vector of zeros is
    /// not stored: it is similar to nothing.
    pub vector: Vec<f32>,
}

/// A change of the vector index. Applying changes again that were applied before, in the same order,
/// leaves the index as it is.
#[derive(Clone, Debug, PartialEq)]
pub enum VectorChange {
    /// Adds a vector or replaces that of its passage.
    Put(IndexedVector),
    /// Removes the vectors of one passage.
    RemovePassage(PassageId),
    /// Removes the vectors of a file or FAQ entry.
    RemoveSource(Source),
    /// Removes the vectors of all generations of a file or FAQ entry but `keep`.
    RemoveOtherGenerations {
        /// The file or FAQ entry.
        source: Source,
        /// The generation that stays.
        keep: u64,
    },
    /// Removes one generation of a knowledge base's embeddings.
    RemoveEmbeddings {
        /// The knowledge base.
        base: KnowledgeBaseId,
        /// The generation to remove.
        embeddings: u64,
    },
    /// Removes everything of a knowledge base.
    RemoveBase(KnowledgeBaseId),
    /// Removes everything of an organisation.
    RemoveOrganisation(OrganisationId),
}

/// An opened vector index and how far it had come.
#[derive(Debug)]
pub struct OpenedVectors {
    /// The index.
    pub index: VectorIndex,
    /// The watermark of the last [`VectorIndex::apply`]. `None`: the index is empty and must be
    /// filled from the database.
    pub watermark: Option<u64>,
    /// Where an index went that could not be used, and why.
    pub moved_aside: Option<(PathBuf, String)>,
}

/// The vector index. See the module documentation. All its functions block.
pub struct VectorIndex {
    env: Env<WithoutTls>,
    tables: Tables,
}

impl std::fmt::Debug for VectorIndex {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("VectorIndex").finish_non_exhaustive()
    }
}

impl VectorIndex {
    /// Opens the index in `directory`, or makes an empty one. A database that cannot be read or is of
    /// another format is moved to `<directory>.unusable` and replaced by an empty one. A process may
    /// open a directory only once at a time.
    ///
    /// # Errors
    /// When the directory cannot be made, moved or written.
    pub fn open(directory: &Path) -> Result<OpenedVectors> {
        std::fs::create_dir_all(directory)?;
        let reason = match Self::open_existing(directory) {
            Ok((index, watermark)) => return Ok(OpenedVectors { index, watermark, moved_aside: None }),
            Err(error @ Error::VectorDatabase(heed::Error::EnvAlreadyOpened)) => return Err(error),
            Err(error) => error.to_string(),
        };
        tracing::warn!(%reason, "vector index cannot be used, starting with an empty one");
        let moved = move_aside(directory)?;
        let (index, watermark) = Self::open_existing(directory)?;
        Ok(OpenedVectors { index, watermark, moved_aside: Some((moved, reason)) })
    }

    fn open_existing(directory: &Path) -> Result<(Self, Option<u64>)> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(MAP_SIZE).max_dbs(8).max_readers(256);
        #[expect(
            unsafe_code,
            reason = "the file is mapped; only this process writes it, under the data directory lock"
        )]
        // SAFETY: nothing else changes or truncates the file while it is mapped.
        let env = unsafe { options.open(directory)? };
        let txn = env.write_txn()?;
        let tables = env.create_databases_and_commit(txn, |open, txn| -> Result<_> {
            Ok(CommitOrAbort::<_, ()>::Commit((
                open.create_database(txn, Some("state"))?,
                open.create_database(txn, Some("slots"))?,
                open.create_database(txn, Some("items"))?,
                open.create_database(txn, Some("by_passage"))?,
                open.create_database(txn, Some("by_source"))?,
                open.create_database(txn, Some("removed"))?,
                open.create_database(txn, Some("graph"))?,
            )))
        })?;
        let CommitOrAbort::Commit((state, slots, items, by_passage, by_source, removed, graph)) = tables else {
            return Err(Error::VectorEntry("tables"));
        };
        let tables = Tables { state, slots, items, by_passage, by_source, removed, graph };
        let mut txn = env.write_txn()?;
        let watermark = match number(&txn, &tables, "format")? {
            Some(FORMAT) => number(&txn, &tables, "watermark")?,
            Some(_) => return Err(Error::VectorEntry("of another format")),
            None => {
                tables.state.put(&mut txn, "format", &FORMAT.to_be_bytes())?;
                None
            }
        };
        tables.all_slots(&txn)?;
        txn.commit()?;
        Ok((Self { env, tables }, watermark))
    }

    /// Applies `changes` in order, all or nothing, durably and visibly to every later search.
    ///
    /// # Errors
    /// When a vector does not fit the others or the database cannot be written; then nothing was
    /// applied.
    pub fn apply(&self, changes: &[VectorChange], watermark: u64) -> Result<()> {
        let tables = &self.tables;
        let mut txn = self.env.write_txn()?;
        for change in changes {
            match change {
                VectorChange::Put(vector) => self.put(&mut txn, vector)?,
                VectorChange::RemovePassage(passage) => {
                    for mut slot in tables.all_slots(&txn)? {
                        if let Some(item) = self.item_of(&txn, bits(*passage), slot.number)? {
                            tables.remove_item(&mut txn, &mut slot, item)?;
                            tables.save_slot(&mut txn, &slot)?;
                        }
                    }
                }
                VectorChange::RemoveSource(source) => self.remove_source(&mut txn, *source, None)?,
                VectorChange::RemoveOtherGenerations { source, keep } => {
                    self.remove_source(&mut txn, *source, Some(*keep))?;
                }
                VectorChange::RemoveEmbeddings { base, embeddings } => {
                    self.remove_slots(&mut txn, |slot| slot.base == bits(*base) && slot.generation == *embeddings)?;
                }
                VectorChange::RemoveBase(base) => self.remove_slots(&mut txn, |slot| slot.base == bits(*base))?,
                VectorChange::RemoveOrganisation(organisation) => {
                    self.remove_slots(&mut txn, |slot| slot.organisation == bits(*organisation))?;
                }
            }
        }
        tables.state.put(&mut txn, "watermark", &watermark.to_be_bytes())?;
        Ok(txn.commit()?)
    }

    fn put(&self, txn: &mut RwTxn, put: &IndexedVector) -> Result<()> {
        let tables = &self.tables;
        let mut slot = match tables.slot(txn, bits(put.base), put.embeddings)? {
            Some(slot) => slot,
            None => self.new_slot(txn, put)?,
        };
        let received = put.vector.len();
        let squares: f32 = put.vector.iter().map(|number| number * number).sum();
        if u32::try_from(received) != Ok(slot.dimensions) || !squares.is_finite() {
            return Err(Error::VectorShape { expected: slot.dimensions as usize, received });
        }
        let passage = bits(put.passage);
        if let Some(old) = self.item_of(txn, passage, slot.number)? {
            tables.remove_item(txn, &mut slot, old)?;
        }
        if squares > 0.0 {
            let length = squares.sqrt();
            let unit: Vec<f32> = put.vector.iter().map(|number| number / length).collect();
            let item = slot.next_item;
            slot.next_item = item.checked_add(1).ok_or(Error::TooManyBases)?;
            slot.live += 1;
            let value = encode_item(passage, put.source, put.generation, &unit);
            tables.items.put(txn, &item_key(slot.number, item), &value)?;
            tables.by_passage.put(txn, &passage_key(passage, slot.number), &item.to_be_bytes())?;
            tables.by_source.put(txn, &source_item_key(slot.number, put.source, item), &())?;
        }
        tables.save_slot(txn, &slot)
    }

    fn new_slot(&self, txn: &RoTxn, put: &IndexedVector) -> Result<Slot> {
        let taken: std::collections::HashSet<u16> =
            self.tables.all_slots(txn)?.iter().map(|slot| slot.number).collect();
        let number = (0..=u16::MAX).find(|number| !taken.contains(number)).ok_or(Error::TooManyBases)?;
        let dimensions = u32::try_from(put.vector.len()).unwrap_or(u32::MAX);
        Ok(Slot {
            base: bits(put.base),
            generation: put.embeddings,
            number,
            organisation: bits(put.organisation),
            dimensions,
            next_item: 0,
            built_below: 0,
            live: 0,
        })
    }

    fn item_of(&self, txn: &RoTxn, passage: u128, slot: u16) -> Result<Option<u32>> {
        let Some(item) = self.tables.by_passage.get(txn, &passage_key(passage, slot))? else { return Ok(None) };
        Ok(Some(u32::from_be_bytes(*item.first_chunk().ok_or(Error::VectorEntry("passage"))?)))
    }

    fn remove_source(&self, txn: &mut RwTxn, source: Source, keep: Option<u64>) -> Result<()> {
        for mut slot in self.tables.all_slots(txn)? {
            let items = self.tables.items_of(txn, slot.number, source, false)?;
            if items.is_empty() {
                continue;
            }
            for item in items {
                let value = self.tables.items.get(txn, &item_key(slot.number, item))?;
                let generation = value.and_then(Item::decode).map(|item| item.source_generation);
                if keep.is_none() || generation != keep {
                    self.tables.remove_item(txn, &mut slot, item)?;
                }
            }
            self.tables.save_slot(txn, &slot)?;
        }
        Ok(())
    }

    fn remove_slots(&self, txn: &mut RwTxn, is_gone: impl Fn(&Slot) -> bool) -> Result<()> {
        let tables = &self.tables;
        for slot in tables.all_slots(txn)?.into_iter().filter(is_gone) {
            let prefix = slot.number.to_be_bytes();
            let mut passages = Vec::new();
            for entry in tables.items.prefix_iter(txn, &prefix)? {
                passages.push(Item::decode(entry?.1).ok_or(Error::VectorEntry("item"))?.passage);
            }
            for passage in passages {
                tables.by_passage.delete(txn, &passage_key(passage, slot.number))?;
            }
            let whole = item_key(slot.number, 0)..=item_key(slot.number, u32::MAX);
            let range = (std::ops::Bound::Included(&whole.start()[..]), std::ops::Bound::Included(&whole.end()[..]));
            tables.items.delete_range(txn, &range)?;
            tables.removed.delete_range(txn, &range)?;
            let sources = [prefix.to_vec(), [&prefix[..], &[0xFF; 21]].concat()];
            let range =
                (std::ops::Bound::Included(sources[0].as_slice()), std::ops::Bound::Included(sources[1].as_slice()));
            tables.by_source.delete_range(txn, &range)?;
            hannoy::Writer::<Cosine>::new(tables.graph, slot.number, slot.dimensions as usize).clear(txn)?;
            tables.slots.delete(txn, &Slot::key(slot.base, slot.generation))?;
        }
        Ok(())
    }

    /// Brings the graph of every partition up to date that is worth it: large ones of which more than
    /// a tenth, and more than can be searched exactly at ease, are not in it. Takes minutes for
    /// hundreds of thousands of vectors, during which searches go on and [`VectorIndex::apply`]
    /// waits; for a background job, after ingestion. `is_cancelled` is asked now and then; what was
    /// not finished is left as it was. Returns how many partitions were built.
    ///
    /// # Errors
    /// When the database cannot be written, or on cancellation.
    pub fn optimise(&self, is_cancelled: impl Fn() -> bool + Send + Sync) -> Result<usize> {
        let slots = {
            let txn = self.env.read_txn()?;
            self.tables.all_slots(&txn)?
        };
        let mut built = 0;
        for slot in slots {
            let txn = self.env.write_txn()?;
            // Read again: changes may have been applied since.
            let Some(slot) = self.tables.slot(&txn, slot.base, slot.generation)? else { continue };
            if self.is_worth_building(&txn, &slot)? {
                self.build(txn, slot, &is_cancelled)?;
                built += 1;
            }
        }
        Ok(built)
    }

    fn is_worth_building(&self, txn: &RoTxn, slot: &Slot) -> Result<bool> {
        let live = u64::from(slot.live);
        if live <= EXACT_BELOW {
            return Ok(false);
        }
        let removed = self.removed_count(txn, slot.number)?;
        let new = u64::from(slot.next_item - slot.built_below);
        Ok(slot.built_below == 0 || new > (live / 10).max(EXACT_BELOW / 5) || removed > live / 5)
    }

    fn removed_count(&self, txn: &RoTxn, slot: u16) -> Result<u64> {
        let marks = self.tables.removed.remap_data_type::<DecodeIgnore>();
        let mut count = 0;
        for mark in marks.prefix_iter(txn, &slot.to_be_bytes())? {
            mark?;
            count += 1;
        }
        Ok(count)
    }

    fn build(&self, mut txn: RwTxn, mut slot: Slot, is_cancelled: &(impl Fn() -> bool + Send + Sync)) -> Result<()> {
        let tables = &self.tables;
        let writer = hannoy::Writer::<Cosine>::new(tables.graph, slot.number, slot.dimensions as usize);
        let mut removed = Vec::new();
        for mark in tables.removed.prefix_iter(&txn, &slot.number.to_be_bytes())? {
            let key: [u8; 6] = *mark?.0.first_chunk().ok_or(Error::VectorEntry("removed"))?;
            removed.push(key);
        }
        for key in removed {
            let [_, _, item @ ..] = key;
            writer.del_item(&mut txn, u32::from_be_bytes(item))?;
            tables.removed.delete(&mut txn, &key)?;
        }
        for item in slot.built_below..slot.next_item {
            let Some(value) = tables.items.get(&txn, &item_key(slot.number, item))? else { continue };
            let vector = search::numbers(Item::decode(value).ok_or(Error::VectorEntry("item"))?.vector);
            writer.add_item(&mut txn, item, &vector)?;
        }
        // The same graph from the same vectors.
        let mut random = SmallRng::seed_from_u64(u64::from(slot.number));
        writer.builder(&mut random).ef_construction(BUILD_EFFORT).cancel(is_cancelled).build::<16, 32>(&mut txn)?;
        slot.built_below = slot.next_item;
        tables.save_slot(&mut txn, &slot)?;
        Ok(txn.commit()?)
    }

    /// How many vectors can be found.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn count(&self) -> Result<u64> {
        let txn = self.env.read_txn()?;
        let slots = self.tables.all_slots(&txn)?;
        Ok(slots.iter().map(|slot| u64::from(slot.live)).sum())
    }
}

fn number(txn: &RoTxn, tables: &Tables, name: &'static str) -> Result<Option<u64>> {
    let Some(value) = tables.state.get(txn, name)? else { return Ok(None) };
    Ok(Some(u64::from_be_bytes(*value.first_chunk().ok_or(Error::VectorEntry(name))?)))
}
