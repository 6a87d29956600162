//! What there is of many ids, asked with one statement instead of one for each.

use std::collections::HashSet;

use parlance_domain::{Id, IdKind, Result, Tenant};
use sqlx::FromRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use crate::tx::{Tx, fault, on_tx};

/// Ids of one statement: below the engines' limits of parameters.
const IDS_AT_ONCE: usize = 5_000;

/// The rows that `select` finds of these ids: a statement with the organisation as `$1`, to which a
/// condition on `column` can be added. `end` follows it: an order, which is that of 5,000 ids at a time.
pub(crate) async fn rows<K, R>(
    tx: &mut Tx,
    tenant: Tenant,
    (select, column, end): (&str, &str, &str),
    ids: &[Id<K>],
) -> Result<Vec<R>>
where
    K: IdKind,
    R: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin,
{
    let mut rows = Vec::new();
    for ids in ids.chunks(IDS_AT_ONCE) {
        let places: Vec<String> = (0..ids.len()).map(|place| format!("${}", place + 2)).collect();
        let sql = format!("{select} AND {column} IN ({}) {end}", places.join(", "));
        let found: Vec<R> = on_tx!(tx, db => {
            let mut query = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(tenant.organisation());
            for id in ids {
                query = query.bind(*id);
            }
            query.fetch_all(db).await
        })
        .map_err(fault)?;
        rows.extend(found);
    }
    Ok(rows)
}

/// Those of the ids that `select` finds: a statement that selects ids, as of [`rows`].
pub(crate) async fn existing<K: IdKind>(
    tx: &mut Tx,
    tenant: Tenant,
    select: &str,
    ids: &[Id<K>],
) -> Result<HashSet<Id<K>>> {
    let found: Vec<(Id<K>,)> = rows(tx, tenant, (select, "id", ""), ids).await?;
    Ok(found.into_iter().map(|(id,)| id).collect())
}
