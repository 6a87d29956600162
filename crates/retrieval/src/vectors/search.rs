//! Finding the nearest vectors of a knowledge base.

use hannoy::distances::Cosine;
use heed::RoTxn;
use parlance_domain::kind::{FileId, OrganisationId, PassageId};
use roaring::RoaringBitmap;

use super::tables::{Item, Slot, item_key};
use super::{EXACT_BELOW, VectorIndex};
use crate::error::{Error, Result};
use crate::scope::{BaseScope, Selection, Source, bits, from_bits};

/// Candidates the graph keeps during a search, at least.
const SEARCH_EFFORT: usize = 100;

/// A passage found by its vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VectorHit {
    /// The passage.
    pub passage: PassageId,
    /// Where it comes from.
    pub source: Source,
    /// Cosine similarity to the question, -1..1.
    pub cosine: f32,
}

impl VectorIndex {
    /// The `limit` passages nearest to `vector` in what `base` selects, by the vectors of the
    /// generation `embeddings`: best first, equal ones by passage id. A base of another organisation,
    /// or without such embeddings, has none.
    ///
    /// # Errors
    /// When `vector` does not fit those of the base, or the database cannot be read.
    pub fn search(
        &self,
        organisation: OrganisationId,
        base: &BaseScope,
        embeddings: u64,
        vector: &[f32],
        limit: usize,
    ) -> Result<Vec<VectorHit>> {
        let txn = self.env.read_txn()?;
        let Some(slot) = self.tables.slot(&txn, bits(base.base), embeddings)? else { return Ok(Vec::new()) };
        if slot.organisation != bits(organisation) || limit == 0 {
            return Ok(Vec::new());
        }
        let length = dot_of(vector, vector).sqrt();
        if u32::try_from(vector.len()) != Ok(slot.dimensions) || !length.is_finite() {
            return Err(Error::VectorShape { expected: slot.dimensions as usize, received: vector.len() });
        }
        if length <= 0.0 {
            return Ok(Vec::new());
        }
        let question: Vec<f32> = vector.iter().map(|number| number / length).collect();
        let mut hits = Vec::new();
        match self.selected(&txn, &slot, base)? {
            Some(selected) if selected.len() <= EXACT_BELOW || slot.built_below == 0 => {
                for item in &selected {
                    self.compare(&txn, &slot, item, &question, base, &mut hits)?;
                }
            }
            selected => {
                self.compare_after(&txn, &slot, &question, base, &mut hits)?;
                if slot.built_below > 0 {
                    for item in self.nearest_in_graph(&txn, &slot, &question, selected.as_ref(), limit)? {
                        self.compare(&txn, &slot, item, &question, base, &mut hits)?;
                    }
                }
            }
        }
        hits.sort_by(|one, other| other.cosine.total_cmp(&one.cosine).then_with(|| one.passage.cmp(&other.passage)));
        hits.truncate(limit);
        Ok(hits)
    }

    /// The items that `base` selects; `None` for all of them.
    fn selected(&self, txn: &RoTxn, slot: &Slot, base: &BaseScope) -> Result<Option<RoaringBitmap>> {
        if base.is_whole() {
            return Ok(None);
        }
        let mut selected = RoaringBitmap::new();
        let mut add = |source, whole_kind| -> Result<()> {
            selected.extend(self.tables.items_of(txn, slot.number, source, whole_kind)?);
            Ok(())
        };
        match &base.files {
            Selection::Nothing => {}
            Selection::All => add(Source::File(from_bits(0)), true)?,
            Selection::Only(files) => files.iter().try_for_each(|file: &FileId| add(Source::File(*file), false))?,
        }
        match &base.faqs {
            Selection::Nothing => {}
            Selection::All => add(Source::Faq(0), true)?,
            Selection::Only(entries) => entries.iter().try_for_each(|entry| add(Source::Faq(*entry), false))?,
        }
        Ok(Some(selected))
    }

    fn nearest_in_graph(
        &self,
        txn: &RoTxn<'_>,
        slot: &Slot,
        question: &[f32],
        selected: Option<&RoaringBitmap>,
        limit: usize,
    ) -> Result<Vec<u32>> {
        let reader = hannoy::Reader::<Cosine>::open(txn, slot.number, self.tables.graph)?;
        let removed = usize::try_from(self.removed_count(txn, slot.number)?).unwrap_or(usize::MAX);
        // Removed items may stand before those that are left; a fifth of them are removed at most
        // when the graph is kept up to date.
        let count = limit.saturating_add(removed.min(limit.saturating_mul(3)));
        let mut query = reader.nns(count);
        query.ef_search(SEARCH_EFFORT.max(count.saturating_mul(2)));
        if let Some(selected) = selected {
            query.candidates(selected);
        }
        let found = query.by_vector(txn, question)?.into_nns();
        Ok(found.into_iter().map(|(item, _)| item).collect())
    }

    /// Compares the items that came after the graph was built.
    fn compare_after(
        &self,
        txn: &RoTxn,
        slot: &Slot,
        question: &[f32],
        base: &BaseScope,
        hits: &mut Vec<VectorHit>,
    ) -> Result<()> {
        let (first, last) = (item_key(slot.number, slot.built_below), item_key(slot.number, u32::MAX));
        let range = (std::ops::Bound::Included(&first[..]), std::ops::Bound::Included(&last[..]));
        for entry in self.tables.items.range(txn, &range)? {
            push(entry?.1, question, base, hits)?;
        }
        Ok(())
    }

    fn compare(
        &self,
        txn: &RoTxn,
        slot: &Slot,
        item: u32,
        question: &[f32],
        base: &BaseScope,
        hits: &mut Vec<VectorHit>,
    ) -> Result<()> {
        match self.tables.items.get(txn, &item_key(slot.number, item))? {
            Some(value) => push(value, question, base, hits),
            // Removed since the graph was built.
            None => Ok(()),
        }
    }
}

fn push(value: &[u8], question: &[f32], base: &BaseScope, hits: &mut Vec<VectorHit>) -> Result<()> {
    let item = Item::decode(value).ok_or(Error::VectorEntry("item"))?;
    if base.allows(item.source) {
        let cosine = dot(item.vector, question).clamp(-1.0, 1.0);
        hits.push(VectorHit { passage: from_bits(item.passage), source: item.source, cosine });
    }
    Ok(())
}

/// The numbers of a stored vector.
pub(super) fn numbers(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|number| f32::from_le_bytes(*number)).collect()
}

/// Scalar product with a stored vector, in eight independent sums so that it is done in parallel.
fn dot(stored: &[u8], question: &[f32]) -> f32 {
    let stored = stored.as_chunks::<4>().0;
    let (stored_eights, stored_rest) = stored.as_chunks::<8>();
    let (question_eights, question_rest) = question.as_chunks::<8>();
    let mut sums = [0.0_f32; 8];
    for (one, other) in stored_eights.iter().zip(question_eights) {
        for lane in 0..8 {
            sums[lane] += f32::from_le_bytes(one[lane]) * other[lane];
        }
    }
    let rest: f32 = stored_rest.iter().zip(question_rest).map(|(one, other)| f32::from_le_bytes(*one) * other).sum();
    sums.iter().sum::<f32>() + rest
}

fn dot_of(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(left, right)| left * right).sum()
}
