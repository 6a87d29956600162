//! One of everything that an organisation can have.

use parlance_domain::{Id, Tenant};
use parlance_storage::webhooks::{self, Attempt, Delivery};
use parlance_testkit::{Actor, TestApp};
use serde_json::{Value, json};

/// Ids of one of everything.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) organization: String,
    pub(crate) member: String,
    pub(crate) group: String,
    pub(crate) group_member: String,
    pub(crate) group_chatbot: String,
    pub(crate) key: String,
    pub(crate) chatbot: String,
    pub(crate) base: String,
    pub(crate) file: String,
    pub(crate) label: String,
    pub(crate) faq: String,
    /// Key of an upload that nothing uses.
    pub(crate) upload: String,
    /// Address of the file.
    pub(crate) link: String,
    pub(crate) attachment: String,
    pub(crate) conversation: String,
    pub(crate) message: String,
    pub(crate) provider: String,
    pub(crate) model: String,
    /// An attempt to deliver the answer.
    pub(crate) webhook_record: String,
    pub(crate) tool: String,
    pub(crate) web_chat: String,
    pub(crate) contact: String,
    pub(crate) inbox: String,
}

/// An id of nothing.
pub(crate) const UNKNOWN: &str = "019a0000-0000-7000-8000-000000000000";

pub(crate) async fn world(app: &TestApp, actor: &Actor, secret: &str) -> World {
    let base = actor.make("knowledge-bases/", &json!({"name": format!("Base {secret}")})).await;
    let text = format!("The word of the day is {secret}. It is not told to anybody.");
    let file = actor.add_file(&base, &format!("{secret}.txt"), &text).await;
    let label =
        actor.make(&format!("knowledge-bases/{base}/labels/"), &json!({"name": format!("Label {secret}")})).await;
    let faq = json!({"question": format!("Who is {secret}?"), "answer": "A bird.", "labels": [{"id": label}]});
    let faq = actor.make(&format!("knowledge-bases/{base}/faqs/"), &faq).await;
    app.run_jobs().await;
    let chatbot =
        actor.make("chatbots/", &json!({"name": format!("Bot {secret}"), "knowledgeBases": [{"id": base}]})).await;
    let used = actor.upload("attachment", &format!("{secret}-note.txt"), text.as_bytes()).await;
    let attachment = actor.make("attachments/", &json!({"file": used})).await;
    let answer = actor.ask(&chatbot, "What is the word of the day?").await;
    let provider = json!({
        "name": format!("Provider {secret}"),
        "kind": "openai",
        "baseUrl": "https://models.example/v1",
        "apiKey": format!("sk-{secret}"),
        "models": [{"name": "large", "role": "chat"}],
    });
    let provider = actor.post("model-providers/", &provider).await.body_of(201);
    let tool = json!({
        "name": format!("tool_{secret}"), "displayName": "Tool", "toolType": "api", "apiUrl": "https://tools.example/",
        "rawHeaders": {"X-Key": secret},
    });
    let tool = actor.make("tools/", &tool).await;
    let web_chat = json!({
        "chatbot": chatbot, "name": format!("Page {secret}"), "theme": {}, "darkTheme": {},
        "allowedOrigins": [format!("https://{secret}.example")], "customDomain": {"domain": format!("{secret}.example.org")},
    });
    let web_chat = actor.make("web-chats/", &web_chat).await;
    let contact = json!({
        "sourceId": secret, "name": format!("Contact {secret}"),
        "mcpCredentials": {"toolId": tool, "headers": {"Authorization": secret}},
    });
    let contact = actor.post(&format!("web-chats/{web_chat}/setup-contact-credentials/"), &contact).await.body_of(200);
    let shown = actor.get(&format!("knowledge-bases/{base}/files/{file}/")).await.body_of(200);
    assert_eq!(shown["status"], "done", "{shown}");
    let id = |value: &Value| value.as_str().unwrap().to_owned();
    let tenant = app.tenant_of(actor).await;
    let webhook_record = webhook_record(app, tenant, (&chatbot, &id(&answer["messageId"])), secret).await;
    let organization = id(&actor.get("organizations/").await.body_of(200)["results"][0]["id"]);
    let place = format!("organizations/{organization}");
    let member = actor.make(&format!("{place}/members/"), &json!({"name": format!("Member {secret}")})).await;
    let group = json!({"name": format!("Group {secret}"), "permissions": ["models:write"]});
    let group = actor.make(&format!("{place}/groups/"), &group).await;
    let group_member = actor.make(&format!("{place}/groups/{group}/group-members/"), &json!({"user": member})).await;
    let linked = json!({"chatbot": chatbot});
    let group_chatbot = actor.make(&format!("{place}/groups/{group}/group-chatbots/"), &linked).await;
    let key = actor.make("api-keys/", &json!({"name": format!("Key {secret}")})).await;
    World {
        organization,
        member,
        group,
        group_member,
        group_chatbot,
        key,
        webhook_record,
        chatbot,
        file,
        label,
        faq,
        upload: actor.upload("chatbot-file", &format!("{secret}-spare.txt"), text.as_bytes()).await,
        link: id(&shown["file"]),
        attachment,
        conversation: id(&answer["conversationId"]),
        message: id(&answer["messageId"]),
        provider: id(&provider["id"]),
        model: id(&provider["models"][0]["id"]),
        tool,
        web_chat,
        contact: id(&contact["id"]),
        inbox: id(&contact["inbox"]["id"]),
        base,
    }
}

/// Stores an attempt to deliver an answer. Gives its id.
async fn webhook_record(app: &TestApp, tenant: Tenant, (chatbot, message): (&str, &str), secret: &str) -> String {
    let now = app.app.now();
    let delivery = Delivery {
        id: app.app.new_id(),
        chatbot_id: Id::parse(chatbot).unwrap(),
        message_id: Id::parse(message).unwrap(),
        url: format!("https://{secret}.example/hook"),
        body: json!({"content": secret}).to_string(),
        status: "failed".to_owned(),
        attempts: 1,
        is_redelivery: false,
        next_attempt_at: now,
        created_at: now,
    };
    let attempt = Attempt {
        id: app.app.new_id(),
        delivery_id: delivery.id,
        chatbot_id: delivery.chatbot_id,
        url: delivery.url.clone(),
        status_code: Some(500),
        response: "HTTP 500".to_owned(),
        duration_millis: 1,
        created_at: now,
    };
    let id = attempt.id.to_string();
    let stored = app.app.db.write(tenant, move |tx| {
        Box::pin(async move {
            webhooks::insert(tx, tenant, &delivery).await?;
            webhooks::insert_attempt(tx, tenant, &attempt).await
        })
    });
    stored.await.unwrap();
    id
}

/// Everything the API tells of the organisation, without what differs at each reading.
pub(crate) async fn told(actor: &Actor, world: &World) -> Value {
    let mut told = Vec::new();
    for path in [
        "chatbots/".to_owned(),
        format!("chatbots/{}/", world.chatbot),
        format!("chatbots/{}/webhook-records/", world.chatbot),
        "knowledge-bases/".to_owned(),
        format!("knowledge-bases/{}/", world.base),
        format!("knowledge-bases/{}/files/", world.base),
        format!("knowledge-bases/{}/files/{}/", world.base, world.file),
        format!("knowledge-bases/{}/labels/", world.base),
        format!("knowledge-bases/{}/faqs/", world.base),
        format!("knowledge-bases/{}/search/?query=word", world.base),
        format!("chatbot-text-nodes/?chatbotFile={}", world.file),
        "attachments/".to_owned(),
        "conversations/".to_owned(),
        format!("messages/?conversation={}", world.conversation),
        "model-providers/".to_owned(),
        "large-language-models/".to_owned(),
        "inboxes/".to_owned(),
        format!("inboxes/{}/", world.inbox),
        "contacts/".to_owned(),
        format!("contacts/{}/", world.contact),
        "tools/".to_owned(),
        format!("tools/{}/", world.tool),
        "web-chats/".to_owned(),
        format!("web-chats/{}/", world.web_chat),
    ] {
        told.push(without_links(actor.get(&path).await.body_of(200)));
    }
    told.push(json!(actor.follow(&world.message, 0).await.rest().await.len()));
    json!(told)
}

fn without_links(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(key, value)| !(key == "file" && value.is_string()))
            .map(|(key, value)| (key, without_links(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_links).collect(),
        other => other,
    }
}
