//! What a webhook says: the reply, in every spelling that receivers read.

use parlance_domain::kind::{ContactId, MessageId};
use parlance_domain::{Tenant, Timestamp};
use parlance_storage::chatbots::Chatbot;
use parlance_storage::messages::Message;
use serde_json::{Value, json};

use crate::citations::{Cited, CitedFile, display_score};
use crate::{App, sender};

/// The JSON of a reply to the message `reply_to` of `contact`.
pub(crate) fn body(
    app: &App,
    tenant: Tenant,
    chatbot: &Chatbot,
    (reply_to, contact): (MessageId, ContactId),
    answer: &Message,
    cited: &[Cited],
) -> String {
    let created_at = answer.created_at.to_string();
    let mut files: Vec<&CitedFile> = Vec::new();
    for file in cited.iter().filter_map(|one| one.file.as_ref()) {
        if !files.iter().any(|known| known.id == file.id) {
            files.push(file);
        }
    }
    let citations: Vec<Value> = files.into_iter().map(|file| citation(app, tenant, file)).collect();
    let nodes: Vec<Value> = cited.iter().map(citation_node).collect();
    json!({
        "id": answer.id,
        "conversation": answer.conversation_id,
        "conversation_id": answer.conversation_id,
        "replyTo": reply_to,
        "contact": contact,
        "sender": {"id": sender::number(chatbot.id), "name": chatbot.name, "avatar": null},
        "type": "outgoing",
        "content": answer.content,
        "contentPayload": null,
        "feedback": null,
        "createdAt": created_at,
        "created_at": created_at,
        "attachments": [],
        "citations": citations,
        "citationNodes": nodes,
    })
    .to_string()
}

fn citation(app: &App, tenant: Tenant, file: &CitedFile) -> Value {
    // A link that cannot be made leaves the citation readable.
    let url = app.links.file_url(tenant, &file.blob_key, &file.filename, app.now()).unwrap_or_default();
    json!({
        "id": file.id,
        "filename": file.filename,
        "file": url,
        "fileType": file.file_type,
        "knowledgeBase": file.knowledge_base,
        "size": file.size,
        "status": file.status,
        "document": file.id,
        "createdAt": Timestamp::from_millis(file.created_at).to_string(),
    })
}

fn citation_node(one: &Cited) -> Value {
    json!({
        "index": one.index,
        "chatbotTextNode": {
            "id": one.node.id,
            "charactersCount": one.node.characters,
            "hitsCount": one.node.hits,
            "text": one.node.text,
            "updatedAt": Timestamp::from_millis(one.node.updated_at).to_string(),
            "filename": one.name(),
            "chatbotFile": one.file.as_ref().map(|file| file.id),
            "pageNumber": one.node.page,
            "startOffset": one.node.start,
            "endOffset": one.node.end,
        },
        "score": one.score,
        "displayScore": display_score(one.score),
    })
}
