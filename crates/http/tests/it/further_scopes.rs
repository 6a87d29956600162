//! Keys with narrow scopes, on the second paths to what they may not read or change.

use parlance_testkit::{Actor, Answer, TestApp};
use serde_json::{Value, json};

use crate::world::{World, world};

async fn one_world() -> (TestApp, Actor, World) {
    let app = TestApp::start().await;
    let owner = app.owner();
    let own = world(&app, &owner, "heron").await;
    (app, owner, own)
}

fn refused(answer: Answer, scope: &str) {
    let asked = answer.asked.clone();
    let detail = format!("You do not have permission to perform this action ({scope}).");
    assert_eq!(answer.body_of(403), json!({"detail": detail, "code": "permission_denied"}), "{asked}");
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_broadcast_writes_into_conversations() {
    let (app, _, own) = one_world().await;
    let body = json!({"message": "Closed today", "contact_ids": [own.contact]});
    let send = "contacts/broadcast-message/";
    refused(app.key("contacts:write").await.post(send, &body).await, "conversations:write");
    refused(app.key("conversations:write").await.post(send, &body).await, "contacts:write");
    let both = app.key("contacts:write conversations:write").await;
    assert_eq!(both.post(send, &body).await.body_of(200)["total_contacts"], 1);
}

#[tokio::test]
async fn what_a_webhook_sent_is_shown_to_readers_of_conversations() {
    let (app, owner, own) = one_world().await;
    let url = json!({"webhookUrl": "https://heron.example/hook"});
    owner.patch(&format!("chatbots/{}/", own.chatbot), &url).await.expect(200).json();
    let records = format!("chatbots/{}/webhook-records/", own.chatbot);
    let page = app.key("chatbots:read").await.get(&records).await.body_of(200);
    assert_eq!(page["results"][0]["requestBody"], json!(null));
    assert_eq!(page["results"][0]["id"], own.webhook_record, "the rest is there");
    let page = app.key("chatbots:read conversations:read").await.get(&records).await.body_of(200);
    assert_eq!(page["results"][0]["requestBody"], json!({"content": "heron"}));
    let redeliver = format!("{records}{}/redeliver/", own.webhook_record);
    let sent = app.key("chatbots:write").await.post(&redeliver, &json!({})).await.body_of(202);
    assert_eq!(sent["requestBody"], json!(null));
}

#[tokio::test]
async fn the_assistants_of_a_base_are_changed_by_who_may_change_assistants() {
    let (app, owner, own) = one_world().await;
    let other = owner.make("chatbots/", &json!({"name": "Other"})).await;
    let writer = app.key("knowledge:read knowledge:write").await;
    let path = format!("knowledge-bases/{}/", own.base);
    for chatbots in [json!([]), json!([other]), json!([own.chatbot, other])] {
        refused(writer.patch(&path, &json!({"name": "Changed", "chatbots": chatbots})).await, "chatbots:write");
    }
    refused(writer.post("knowledge-bases/", &json!({"name": "New", "chatbots": [other]})).await, "chatbots:write");
    let shown = owner.get(&path).await.body_of(200);
    assert_eq!((&shown["name"], ids(&shown["chatbots"])), (&json!("Base heron"), vec![own.chatbot.as_str()]));

    // What was read is written back as it is, and a base of its own is nobody's.
    let mut back = writer.get(&path).await.body_of(200);
    back["description"] = json!("Birds");
    assert_eq!(writer.put(&path, &back).await.body_of(200)["description"], "Birds");
    writer.post("knowledge-bases/", &json!({"name": "New", "chatbots": []})).await.expect(201).json();
    let both = app.key("knowledge:write chatbots:write").await;
    let changed = both.patch(&path, &json!({"chatbots": [other]})).await.body_of(200);
    assert_eq!(ids(&changed["chatbots"]), [other.as_str()]);
}

#[tokio::test]
async fn a_base_that_is_made_for_an_assistant_changes_the_assistant() {
    let (app, owner, own) = one_world().await;
    let bare = owner.make("chatbots/", &json!({"name": "Bare"})).await;
    let writer = app.key("knowledge:read knowledge:write").await;
    let faq = json!({"question": "Who?", "answer": "A bird."});
    refused(writer.post(&format!("chatbots/{bare}/faqs/"), &faq).await, "chatbots:write");
    let with = json!({"chatbot": bare, "question": "Who?", "answer": "A bird."});
    refused(writer.post("faqs/", &with).await, "chatbots:write");
    refused(writer.post(&format!("chatbots/{bare}/files/"), &json!({"file": own.upload})).await, "chatbots:write");
    assert_eq!(owner.get("knowledge-bases/").await.body_of(200)["count"], 2, "nothing was made");
    // Where there is one, it is a matter of knowledge.
    writer.post(&format!("chatbots/{}/faqs/", own.chatbot), &faq).await.expect(201).json();
    let both = app.key("knowledge:write chatbots:write").await;
    both.post(&format!("chatbots/{bare}/faqs/"), &faq).await.expect(201).json();
}

#[tokio::test]
async fn what_an_assistant_is_given_may_be_read_by_the_giver() {
    let (app, owner, own) = one_world().await;
    let spare = owner.make("knowledge-bases/", &json!({"name": "Spare"})).await;
    let writer = app.key("chatbots:read chatbots:write").await;
    let path = format!("chatbots/{}/", own.chatbot);
    let given = [
        (json!({"knowledgeBases": [own.base, spare]}), "knowledge:read"),
        (json!({"tools": [own.tool]}), "tools:read"),
        (json!({"webhookUrl": "https://elsewhere.example/hook"}), "conversations:read"),
    ];
    for (mut body, scope) in given {
        refused(writer.patch(&path, &body).await, scope);
        body["name"] = json!("New");
        refused(writer.post("chatbots/", &body).await, scope);
        let more = app.key(&format!("chatbots:write {scope}")).await;
        more.patch(&path, &body).await.expect(200).json();
        more.post("chatbots/", &body).await.expect(201).json();
    }
    // What was read is written back as it is, and taking away gives nothing.
    let back = writer.get(&path).await.body_of(200);
    assert_eq!(back["webhookUrl"], "https://elsewhere.example/hook");
    let again = writer.put(&path, &back).await.body_of(200);
    assert_eq!((ids(&again["knowledgeBases"]).len(), ids(&again["tools"]).len()), (2, 1));
    let none = json!({"knowledgeBases": [own.base], "tools": [], "webhookUrl": ""});
    let less = writer.patch(&path, &none).await.body_of(200);
    assert_eq!((ids(&less["knowledgeBases"]), &less["webhookUrl"]), (vec![own.base.as_str()], &json!(null)));
    refused(writer.patch(&path, &json!({"knowledgeBases": [spare]})).await, "knowledge:read");
}

#[tokio::test]
async fn a_web_chat_shows_an_assistant_that_its_maker_may_see() {
    let (app, owner, own) = one_world().await;
    let other = owner.make("chatbots/", &json!({"name": "Other"})).await;
    let writer = app.key("channels:read channels:write").await;
    let page = |chatbot: &str| json!({"chatbot": chatbot, "theme": {}, "darkTheme": {}});
    refused(writer.post("web-chats/", &page(&other)).await, "chatbots:read");
    let inbox = json!({"name": "In", "channelType": "web", "chatbot": other});
    refused(writer.post("inboxes/", &inbox).await, "chatbots:read");
    let (page_path, inbox_path) = (format!("web-chats/{}/", own.web_chat), format!("inboxes/{}/", own.inbox));
    refused(writer.put(&page_path, &page(&other)).await, "chatbots:read");
    refused(writer.patch(&inbox_path, &json!({"chatbot": other})).await, "chatbots:read");
    // The one it has is no news.
    writer.put(&page_path, &page(&own.chatbot)).await.expect(200).json();
    writer.patch(&inbox_path, &json!({"chatbot": own.chatbot, "name": "Renamed"})).await.expect(200).json();
    let more = app.key("channels:write chatbots:read").await;
    more.patch(&inbox_path, &json!({"chatbot": other})).await.expect(200).json();
    more.post("web-chats/", &page(&other)).await.expect(201).json();
    more.post("inboxes/", &inbox).await.expect(201).json();
}

#[tokio::test]
async fn bytes_become_something_else_for_who_may_read_what_they_are() {
    let (app, owner, own) = one_world().await;
    // A key of its own upload, and the link to a file of a knowledge base.
    let talker = app.key("conversations:write").await;
    refused(talker.post("attachments/", &json!({"file": own.link})).await, "knowledge:read");
    let message = json!({"conversation": own.conversation, "content": "", "attachments": [{"file": own.link}]});
    refused(talker.post("messages/", &message).await, "knowledge:read");
    talker.post("attachments/", &json!({"file": own.upload})).await.expect(201).json();
    talker.post("attachments/", &json!({"file": own.upload})).await.expect(201).json();

    let files = format!("knowledge-bases/{}/files/", own.base);
    let attached = json!({"files": [{"file": own.upload}]});
    refused(app.key("knowledge:write").await.post(&files, &attached).await, "conversations:read");
    let designer = app.key("channels:write").await;
    let path = format!("web-chats/{}/", own.web_chat);
    refused(designer.patch(&path, &json!({"logo": own.link})).await, "knowledge:read");
    refused(designer.patch(&path, &json!({"logo": own.upload})).await, "conversations:read");

    let more = app.key("conversations:write knowledge:read").await;
    more.post("attachments/", &json!({"file": own.link})).await.expect(201).json();
    let more = app.key("knowledge:write conversations:read").await;
    more.post(&files, &attached).await.expect(201).json();
    // What is knowledge and attachment is open to who may write either.
    talker.post("attachments/", &json!({"file": own.upload})).await.expect(201).json();
    owner.patch(&path, &json!({"logo": own.link})).await.expect(200).json();
}

#[tokio::test]
async fn a_key_that_may_only_ask_reads_no_attachments_and_no_finished_answers() {
    let (app, owner, own) = one_world().await;
    let asker = app.key("completions:create").await;
    let path = format!("chatbots/{}/completions/", own.chatbot);
    let question = json!({"message": {"content": "What does it say?", "attachments": [own.attachment]}});
    refused(asker.post(&path, &question).await, "conversations:write");
    app.key("completions:create conversations:write").await.post(&path, &question).await.expect(200).json();

    let cancel = format!("messages/{}/cancel/", own.message);
    let ended = asker.post(&cancel, &json!({})).await.body_of(200);
    assert_eq!((&ended["state"], ended.get("content")), (&json!("done"), None));
    let reader = app.key("completions:create conversations:read").await;
    assert!(reader.post(&cancel, &json!({})).await.body_of(200)["content"].as_str().unwrap().contains("heron"));
    assert!(owner.post(&cancel, &json!({})).await.body_of(200)["content"].is_string());
}
