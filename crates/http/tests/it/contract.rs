//! The operations of the published API that this release answers, with the status of success: a row
//! for each, held against the description of what is served.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::openapi::{document, operations};

/// Method, path below `/api/v1/` with `{}` for an id, statuses of success.
const PUBLISHED: &[(&str, &str, &[u16])] = &[
    // Web chats.
    ("POST", "web-chats/", &[201]),
    ("GET", "web-chats/", &[200]),
    ("GET", "web-chats/{}/", &[200]),
    ("PUT", "web-chats/{}/", &[200]),
    ("PATCH", "web-chats/{}/", &[200]),
    ("DELETE", "web-chats/{}/", &[204]),
    ("POST", "web-chats/{}/sessions/", &[201]),
    ("POST", "web-chats/{}/completions/", &[200]),
    ("POST", "web-chats/{}/setup-contact-credentials/", &[200]),
    ("POST", "web-chats/{}/voice-agent/token/", &[200]),
    // Evaluation is stored; it is made by a later release.
    ("PATCH", "chatbots/{}/enable-evaluation/", &[200]),
    // Completions, messages, conversations.
    ("POST", "chatbots/{}/completions/", &[200]),
    ("POST", "messages/", &[201]),
    ("GET", "messages/", &[200]),
    ("GET", "messages/{}/", &[200]),
    ("PATCH", "messages/{}/", &[200]),
    ("PUT", "messages/{}/feedback/", &[200]),
    ("DELETE", "messages/{}/feedback/", &[200, 204]),
    ("GET", "messages/{}/stream/", &[200]),
    ("POST", "messages/{}/cancel/", &[200]),
    ("POST", "messages/outgoing/", &[201]),
    ("POST", "conversations/", &[201]),
    ("GET", "conversations/", &[200]),
    ("GET", "conversations/{}/", &[200]),
    ("POST", "conversations/{}/read/", &[200]),
    ("POST", "conversations/{}/typing/", &[200, 202, 204]),
    ("GET", "conversations/{}/events/", &[200]),
    ("PATCH", "conversations/{}/update-auto-reply/", &[200]),
    ("PATCH", "conversations/{}/update-enable-group-mention/", &[200]),
    ("POST", "conversations/{}/attachments/", &[201]),
    // Uploads.
    ("POST", "upload-presigned-url/", &[200]),
    ("POST", "attachments/", &[201]),
    ("POST", "attachments-upload/", &[201]),
    ("GET", "attachments/", &[200]),
    ("GET", "attachments/{}/", &[200]),
    ("DELETE", "attachments/{}/", &[204]),
    ("GET", "allowed-file-types/", &[200]),
    // Assistants and models.
    ("POST", "chatbots/", &[201]),
    ("GET", "chatbots/", &[200]),
    ("GET", "chatbots/{}/", &[200]),
    ("PUT", "chatbots/{}/", &[200]),
    ("PATCH", "chatbots/{}/", &[200]),
    ("DELETE", "chatbots/{}/", &[204]),
    ("POST", "chatbots/{}/duplicate/", &[201]),
    ("POST", "chatbots/{}/search/", &[200]),
    ("GET", "chatbots/{}/knowledge-bases-files/", &[200]),
    ("POST", "chatbots/{}/webhook-secret/", &[200, 201]),
    ("GET", "chatbots/{}/webhook-records/", &[200]),
    ("GET", "large-language-models/", &[200]),
    ("GET", "embedding-models/", &[200]),
    ("GET", "reranker-models/", &[200]),
    // Knowledge bases.
    ("POST", "knowledge-bases/", &[201]),
    ("GET", "knowledge-bases/", &[200]),
    ("GET", "knowledge-bases/{}/", &[200]),
    ("PUT", "knowledge-bases/{}/", &[200]),
    ("PATCH", "knowledge-bases/{}/", &[200]),
    ("DELETE", "knowledge-bases/{}/", &[204]),
    ("POST", "knowledge-bases/{}/search/", &[200]),
    ("GET", "knowledge-bases/{}/search/", &[200]),
    ("POST", "knowledge-bases/{}/labels/", &[201]),
    ("GET", "knowledge-bases/{}/labels/", &[200]),
    ("GET", "knowledge-bases/{}/labels/{}/", &[200]),
    ("PUT", "knowledge-bases/{}/labels/{}/", &[200]),
    ("PATCH", "knowledge-bases/{}/labels/{}/", &[200]),
    ("DELETE", "knowledge-bases/{}/labels/{}/", &[204]),
    ("POST", "knowledge-bases/{}/files/", &[201]),
    ("GET", "knowledge-bases/{}/files/", &[200]),
    ("GET", "knowledge-bases/{}/files/{}/", &[200]),
    ("PUT", "knowledge-bases/{}/files/{}/", &[200]),
    ("PATCH", "knowledge-bases/{}/files/{}/", &[200]),
    ("DELETE", "knowledge-bases/{}/files/{}/", &[204]),
    ("PATCH", "knowledge-bases/{}/files/{}/update-metadata/", &[200]),
    ("POST", "knowledge-bases/{}/files/{}/update-metadata/", &[200]),
    ("POST", "knowledge-bases/{}/files/batch-delete/", &[200, 204]),
    ("PATCH", "knowledge-bases/{}/files/batch-reparse/", &[200]),
    ("POST", "knowledge-bases/{}/faqs/", &[201]),
    ("GET", "knowledge-bases/{}/faqs/", &[200]),
    ("GET", "knowledge-bases/{}/faqs/{}/", &[200]),
    ("PUT", "knowledge-bases/{}/faqs/{}/", &[200]),
    ("PATCH", "knowledge-bases/{}/faqs/{}/", &[200]),
    ("DELETE", "knowledge-bases/{}/faqs/{}/", &[204]),
    ("POST", "knowledge-bases/{}/faqs/batch-delete/", &[200]),
    ("PATCH", "knowledge-bases/{}/faqs/{}/update-metadata/", &[200]),
    // Knowledge of one assistant.
    ("POST", "faqs/", &[201]),
    ("GET", "chatbots/{}/faqs/", &[200]),
    ("POST", "chatbots/{}/faqs/", &[201]),
    ("POST", "chatbots/{}/faqs/batch-delete/", &[200]),
    ("GET", "chatbots/{}/files/", &[200]),
    ("POST", "chatbots/{}/files/", &[201]),
    ("DELETE", "chatbots/{}/files/{}/", &[204]),
    ("GET", "chatbots/{}/files/{}/latest-failed-reason/", &[200]),
    ("POST", "chatbots/{}/files/batch-delete/", &[200, 204]),
    ("GET", "chatbot-text-nodes/", &[200]),
    ("GET", "parsers/", &[200]),
    // Contacts.
    ("GET", "contacts/", &[200]),
    ("POST", "contacts/", &[201]),
    ("GET", "contacts/{}/", &[200]),
    ("PUT", "contacts/{}/", &[200]),
    ("PATCH", "contacts/{}/", &[200]),
    ("DELETE", "contacts/{}/", &[204]),
    ("GET", "contacts/{}/conversations/", &[200]),
    ("GET", "contacts/{}/conversations/latest/", &[200]),
    ("POST", "contacts/broadcast-message/", &[200]),
    // Inboxes.
    ("GET", "inboxes/", &[200]),
    ("POST", "inboxes/", &[201]),
    ("GET", "inboxes/{}/", &[200]),
    ("PUT", "inboxes/{}/", &[200]),
    ("PATCH", "inboxes/{}/", &[200]),
    ("DELETE", "inboxes/{}/", &[204]),
    ("GET", "inboxes/{}/events/", &[200]),
    // Tools.
    ("POST", "tools/", &[201]),
    ("GET", "tools/", &[200]),
    ("GET", "tools/{}/", &[200]),
    ("PUT", "tools/{}/", &[200]),
    ("PATCH", "tools/{}/", &[200]),
    ("DELETE", "tools/{}/", &[204]),
    // The organisation.
    ("GET", "organizations/", &[200]),
    ("POST", "organizations/", &[201]),
    ("GET", "organizations/{}/", &[200]),
    ("PATCH", "organizations/{}/", &[200]),
    ("GET", "organizations/{}/members/", &[200]),
    ("POST", "organizations/{}/members/", &[201]),
    ("DELETE", "organizations/{}/members/{}/", &[204]),
    ("GET", "organizations/{}/groups/", &[200]),
    ("POST", "organizations/{}/groups/", &[201]),
    ("GET", "permissions/", &[200]),
    ("GET", "users/current/", &[200]),
];

/// The path with `{}` for each of its parameters.
fn shape(path: &str) -> String {
    let below = path.strip_prefix("/api/v1/").unwrap();
    below.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
}

/// Documented statuses below 300.
fn good(operation: &Value) -> Vec<u16> {
    let statuses = operation["responses"].as_object().unwrap().keys();
    statuses.filter_map(|status| status.parse().ok()).filter(|status| (200..300).contains(status)).collect()
}

#[test]
fn every_published_operation_is_served() {
    let served: BTreeMap<(String, String), Vec<u16>> = operations(&document())
        .into_iter()
        .map(|(method, path, operation)| ((method, shape(&path)), good(&operation)))
        .collect();
    let mut wrong = Vec::new();
    for (method, path, statuses) in PUBLISHED {
        match served.get(&((*method).to_owned(), (*path).to_owned())) {
            None => wrong.push(format!("{method} {path} is missing")),
            Some(found) if found.iter().any(|status| statuses.contains(status)) => {}
            Some(found) => wrong.push(format!("{method} {path} answers {found:?} instead of {statuses:?}")),
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
