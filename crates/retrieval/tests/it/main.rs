//! Tests of the indexes as a whole.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]
#![expect(clippy::cast_precision_loss, reason = "shares of small counts")]

mod quality;
mod tenants;
mod text_index;
mod unicode;
mod vector_index;

use parlance_domain::Id;
use parlance_domain::kind::{KnowledgeBaseId, OrganisationId};
use parlance_retrieval::{Change, IndexedPassage, Source};
use uuid::Uuid;

/// The id with this number: tests name things by small numbers.
fn id<K: parlance_domain::IdKind>(number: u128) -> Id<K> {
    // Spread like random ids, so that no hash gets an easy case.
    Id::from_uuid(Uuid::from_u128(number.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)))
}

fn organisation() -> OrganisationId {
    id(1)
}

fn base() -> KnowledgeBaseId {
    id(2)
}

fn passage(number: u128, file: u128, text: &str) -> IndexedPassage {
    IndexedPassage {
        organisation: organisation(),
        base: base(),
        source: Source::File(id(file)),
        generation: 1,
        passage: id(number),
        text: text.to_owned(),
        heading: None,
    }
}

fn put(number: u128, file: u128, text: &str) -> Change {
    Change::Put(passage(number, file, text))
}
