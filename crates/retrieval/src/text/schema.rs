//! Fields of the full-text index and the form of its terms.
//!
//! Every term of a passage's text is stored under the key of its organisation and knowledge base.
//! A search of a base therefore reads only that base's postings: other tenants cost no time and
//! their documents have no influence on frequencies and scores. The key is a hash; that a hit really
//! belongs to the organisation and base is checked on the stored ids.

use parlance_domain::kind::{KnowledgeBaseId, OrganisationId};
use tantivy::Term;
use tantivy::schema::{FAST, Field, INDEXED, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};

use crate::scope::{Source, bits};

/// Changes whenever terms, fields or their meaning do; an index of another version is rebuilt.
pub(super) const FORMAT: u32 = 1;
/// Name under which the tokenizer is registered.
pub(super) const TOKENIZER: &str = "parlance";
/// Length in bytes of the key before each text and each term.
pub(super) const KEY_LENGTH: usize = 10;

#[derive(Clone, Copy)]
pub(super) struct Fields {
    pub(super) text: Field,
    pub(super) organisation: Field,
    pub(super) base: Field,
    pub(super) source: Field,
    pub(super) source_generation: Field,
    pub(super) passage: Field,
    pub(super) source_kind: Field,
    pub(super) halves: [(Field, Field); 4],
}

/// Names of the number columns that hold the two halves of an id: organisation, base, source, passage.
pub(super) const HALVES: [(&str, &str); 4] = [
    ("organisation_high", "organisation_low"),
    ("base_high", "base_low"),
    ("source_high", "source_low"),
    ("passage_high", "passage_low"),
];
pub(super) const SOURCE_KIND: &str = "source_kind";

pub(super) fn schema() -> (Schema, Fields) {
    let mut builder = Schema::builder();
    let indexing = TextFieldIndexing::default()
        .set_tokenizer(TOKENIZER)
        .set_index_option(IndexRecordOption::WithFreqs)
        .set_fieldnorms(true);
    let fields = Fields {
        text: builder.add_text_field("text", TextOptions::default().set_indexing_options(indexing)),
        organisation: builder.add_bytes_field("organisation", INDEXED),
        base: builder.add_bytes_field("base", INDEXED),
        source: builder.add_bytes_field("source", INDEXED),
        source_generation: builder.add_bytes_field("source_generation", INDEXED),
        passage: builder.add_bytes_field("passage", INDEXED),
        source_kind: builder.add_u64_field(SOURCE_KIND, FAST),
        halves: HALVES.map(|(high, low)| (builder.add_u64_field(high, FAST), builder.add_u64_field(low, FAST))),
    };
    (builder.build(), fields)
}

/// The key that precedes each text and term of a base, 60 bits of a hash as printable characters.
pub(super) fn key_of(organisation: OrganisationId, base: KnowledgeBaseId) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bits(organisation).to_be_bytes().into_iter().chain(bits(base).to_be_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // Final mixing, so that the dropped bits count too.
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (0..KEY_LENGTH)
        .map(|position| {
            let digit = u8::try_from((hash >> (4 + 6 * position)) & 0x3F).unwrap_or_default();
            char::from(b'0' + digit)
        })
        .collect()
}

pub(super) fn id_term(field: Field, id: u128) -> Term {
    Term::from_field_bytes(field, &id.to_be_bytes())
}

pub(super) fn source_bytes(source: Source) -> [u8; 17] {
    let (kind, id) = source.parts();
    let mut bytes = [0; 17];
    bytes[0] = u8::from(kind != 0);
    bytes[1..].copy_from_slice(&id.to_be_bytes());
    bytes
}

pub(super) fn generation_bytes(source: Source, generation: u64) -> [u8; 25] {
    let mut bytes = [0; 25];
    bytes[..17].copy_from_slice(&source_bytes(source));
    bytes[17..].copy_from_slice(&generation.to_be_bytes());
    bytes
}
