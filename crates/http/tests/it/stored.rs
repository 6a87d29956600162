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
