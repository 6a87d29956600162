//! What searches see: the segments of one commit with everything opened that a search needs.

use std::sync::Arc;

use tantivy::columnar::Column;
use tantivy::fieldnorm::FieldNormReader;
use tantivy::index::InvertedIndexReader;
use tantivy::{IndexReader, SegmentReader, Term};

use super::schema::{Fields, HALVES, SOURCE_KIND};
use crate::error::Result;

pub(super) struct Segment {
    pub(super) reader: SegmentReader,
    pub(super) text: Arc<InvertedIndexReader>,
    pub(super) bases: Arc<InvertedIndexReader>,
    pub(super) sources: Arc<InvertedIndexReader>,
    passages: Arc<InvertedIndexReader>,
    pub(super) lengths: FieldNormReader,
    source_kind: Column<u64>,
    halves: Vec<(Column<u64>, Column<u64>)>,
}

/// The stored ids of one passage.
pub(super) struct StoredIds {
    pub(super) organisation: u128,
    pub(super) base: u128,
    pub(super) source_kind: u64,
    pub(super) source: u128,
    pub(super) passage: u128,
}

impl Segment {
    pub(super) fn kind_of_source(&self, document: u32) -> u64 {
        self.source_kind.first(document).unwrap_or(u64::MAX)
    }

    pub(super) fn ids(&self, document: u32) -> Option<StoredIds> {
        let mut ids = [0_u128; 4];
        for (id, (high, low)) in ids.iter_mut().zip(&self.halves) {
            *id = u128::from(high.first(document)?) << 64 | u128::from(low.first(document)?);
        }
        let [organisation, base, source, passage] = ids;
        Some(StoredIds { organisation, base, source_kind: self.source_kind.first(document)?, source, passage })
    }
}

pub(super) struct Snapshot {
    pub(super) segments: Vec<Segment>,
    pub(super) fields: Fields,
    /// Mean number of terms of a passage.
    pub(super) mean_length: f32,
}

impl Snapshot {
    pub(super) fn of(reader: &IndexReader, fields: &Fields) -> Result<Self> {
        let mut segments = Vec::new();
        let mut terms = 0_u64;
        let mut documents = 0_u64;
        for segment in reader.searcher().segment_readers() {
            let text = segment.inverted_index(fields.text)?;
            terms += text.total_num_tokens();
            documents += u64::from(segment.max_doc());
            let columns = segment.fast_fields();
            let halves = HALVES
                .iter()
                .map(|(high, low)| Ok((columns.u64(high)?, columns.u64(low)?)))
                .collect::<tantivy::Result<_>>()?;
            segments.push(Segment {
                text,
                bases: segment.inverted_index(fields.base)?,
                sources: segment.inverted_index(fields.source)?,
                passages: segment.inverted_index(fields.passage)?,
                lengths: segment.get_fieldnorms_reader(fields.text)?,
                source_kind: columns.u64(SOURCE_KIND)?,
                halves,
                reader: segment.clone(),
            });
        }
        #[expect(clippy::cast_precision_loss, reason = "a mean")]
        let mean_length = (terms as f32 / documents.max(1) as f32).max(1.0);
        Ok(Self { segments, fields: *fields, mean_length })
    }

    /// Whether any document, deleted or not, has the passage id of `term`.
    pub(super) fn contains(&self, term: &Term) -> Result<bool> {
        for segment in &self.segments {
            if segment.passages.get_term_info(term)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn passages(&self) -> u64 {
        self.segments.iter().map(|segment| u64::from(segment.reader.num_docs())).sum()
    }
}
