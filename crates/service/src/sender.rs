//! Numbers by which clients that know no uuids tell senders apart.

use parlance_domain::{Id, IdKind};

/// A stable positive number below 2^53 for an id, so that it is exact in every JSON reader.
pub fn number<K: IdKind>(id: Id<K>) -> u64 {
    // The lower bits of an id are its random ones.
    let low = id.uuid().as_u128() & ((1 << 53) - 1);
    u64::try_from(low).unwrap_or_default().max(1)
}

#[cfg(test)]
mod tests {
    use parlance_domain::kind::ContactId;

    use super::*;

    #[test]
    fn a_number_is_exact_in_every_reader() {
        let number_of = |text: &str| number(ContactId::parse(text).unwrap());
        assert_eq!(number_of("019a0000-0000-7000-8000-00000000002a"), 42);
        assert_eq!(number_of("019a0000-0000-7000-8000-000000000000"), 1);
        assert_eq!(number_of("ffffffff-ffff-ffff-ffff-ffffffffffff"), (1 << 53) - 1);
    }
}
