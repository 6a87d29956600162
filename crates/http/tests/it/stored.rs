//! What the database holds of an answer.

use parlance_domain::kind::MessageId;
use parlance_storage::messages::{self, Message};
use parlance_storage::records::{self, Record};
use parlance_testkit::TestApp;
use serde_json::Value;

/// The message with this id, and its record.
pub(crate) async fn stored(app: &TestApp, message: &Value) -> (Message, Option<Record>) {
    let id = MessageId::parse(message.as_str().unwrap()).unwrap();
    let mut tx = app.app.db.read(app.tenant).await.unwrap();
    let message = messages::get(&mut tx, app.tenant, id).await.unwrap().unwrap();
    (message, records::of_message(&mut tx, app.tenant, id).await.unwrap())
}

/// Checks that a secret is in no file of the app, though `known`, stored beside it, is in one. Where
/// the database is none of the files, this is for the tests of the rows.
pub(crate) fn assert_nowhere(app: &TestApp, secret: &str, known: &str) {
    let holds = |bytes: &[u8], part: &str| bytes.windows(part.len()).any(|window| window == part.as_bytes());
    let mut found_known = app.app.db.engine_name() != "sqlite";
    for entry in std::fs::read_dir(app.folder()).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        let bytes = std::fs::read(entry.path()).unwrap();
        assert!(!holds(&bytes, secret), "{}", entry.path().display());
        found_known |= holds(&bytes, known);
    }
    assert!(found_known, "the database was not among the files");
}
