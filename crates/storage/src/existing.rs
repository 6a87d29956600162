//! Which of many ids there are, asked with one statement instead of one for each.

use std::collections::HashSet;

use parlance_domain::{Id, IdKind, Result, Tenant};

use crate::tx::{Tx, fault, on_tx};

/// Ids of one statement: below the engines' limits of parameters.
const IDS_AT_ONCE: usize = 5_000;

/// Those of the ids that `select` finds: a statement that selects ids, with the organisation as `$1`, to
/// which a condition on `id` can be added.
pub(crate) async fn existing<K: IdKind>(
    tx: &mut Tx,
    tenant: Tenant,
    select: &str,
    ids: &[Id<K>],
) -> Result<HashSet<Id<K>>> {
    let mut existing = HashSet::new();
    for ids in ids.chunks(IDS_AT_ONCE) {
        let places: Vec<String> = (0..ids.len()).map(|place| format!("${}", place + 2)).collect();
        let sql = format!("{select} AND id IN ({})", places.join(", "));
        let found: Vec<Id<K>> = on_tx!(tx, db => {
            let mut query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(tenant.organisation());
            for id in ids {
                query = query.bind(*id);
            }
            query.fetch_all(db).await
        })
        .map_err(fault)?;
        existing.extend(found);
    }
    Ok(existing)
}
