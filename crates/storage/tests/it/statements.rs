//! Every statement on a table with an organisation says which one: a scope audit of the source.

use std::collections::BTreeSet;
use std::path::Path;

/// Functions whose statements serve all organisations: the authenticator, the job runner, the
/// indexer, the sweeps. None of them is given anything that a caller chose but a credential's hash.
const FOR_ALL: &[&str] = &[
    // From a credential to its organisation.
    "api_keys::by_hash",
    // First start.
    "organisations::first",
    "organisations::insert",
    // The runner of jobs.
    "jobs::claim",
    "jobs::count",
    "jobs::next_due",
    "jobs::release_all",
    // The indexer.
    "faqs::searchable",
    "files::searchable",
    "index_changes::count_attempt",
    "index_changes::delete",
    "index_changes::delete_repeated",
    "index_changes::pending",
    // What writes of several organisations add to one index, each row by its own.
    "conversation_terms::add_gathered",
    // Whose visitor it is, and what a page may know before it has one.
    "visitor_sessions::live",
    // Whose of several web chats a name is.
    "domain_claims::end_others",
    "domain_claims::rivals",
    // From the host of a request to the page that is shown there.
    "domain_checks::web_chat_at",
    // Which names get a certificate.
    "domain_checks::verified",
    "web_chats::is_origin_known",
    // What a start and the sweeps look for.
    "audit::forget",
    "idempotency::forget",
    "messages::interrupted",
    "uploads::abandoned",
    "uploads::known",
    "uploads::some_used",
    "visitor_sessions::forget",
    "web_chat_reservations::forget",
    "web_chat_usage::forget",
    "webhooks::forget",
];

/// Names of the tables that have an organisation.
fn tables_of_organisations() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite");
    let mut tables = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for table in text.split("CREATE TABLE ").skip(1) {
            let (name, columns) = table.split_once(" (").unwrap();
            if columns.split_once(");").unwrap().0.contains("org_id") {
                tables.insert(name.to_owned());
            }
        }
    }
    tables
}

/// The functions of a source file with their bodies, and its constants.
fn functions(source: &str) -> Vec<(&str, &str)> {
    let product = source.split("#[cfg(test)]").next().unwrap();
    product
        .split("\npub async fn ")
        .skip(1)
        .chain(product.split("\nasync fn ").skip(1))
        .chain(product.split("\npub(crate) async fn ").skip(1))
        .map(|rest| (rest, "\n}\n"))
        // Statements that stand by themselves.
        .chain(product.split("\nconst ").skip(1).map(|rest| (rest, ";\n")))
        .map(|(rest, end)| {
            let end = rest.find(end).unwrap_or(rest.len());
            let name = rest.split(|sign: char| !sign.is_alphanumeric() && sign != '_').next().unwrap();
            (name, &rest[..end])
        })
        .collect()
}

/// Whether the body has a statement on one of the tables.
fn touches(body: &str, tables: &BTreeSet<String>) -> bool {
    ["FROM ", "JOIN ", "INTO ", "UPDATE "].iter().any(|word| {
        body.split(word).skip(1).any(|rest| {
            let name = rest.split(|sign: char| !sign.is_alphanumeric() && sign != '_').next().unwrap();
            tables.contains(name)
        })
    })
}

#[test]
fn every_statement_names_its_organisation() {
    let tables = tables_of_organisations();
    assert!(tables.len() > 15, "{tables:?}");
    let (mut seen, mut unscoped) = (0, BTreeSet::new());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Ok(source) = std::fs::read_to_string(&path) else { continue };
        let module = path.file_stem().unwrap().to_str().unwrap();
        for (name, body) in functions(&source) {
            if touches(body, &tables) {
                seen += 1;
                let is_scoped = body.contains("org_id = $1")
                    || body.contains("(org_id, id")
                    || body.contains("tenant.organisation()");
                if !is_scoped {
                    unscoped.insert(format!("{module}::{name}"));
                }
            }
        }
    }
    assert!(seen > 80, "only {seen} functions with statements were found: is the search still right?");
    let allowed: BTreeSet<String> = FOR_ALL.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(unscoped, allowed);
}
