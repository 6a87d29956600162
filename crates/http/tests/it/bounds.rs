//! Lists in bodies and pages of lists have an end, however much there is.

use parlance_domain::kind::{ConversationId, FileId, KnowledgeBaseId, MessageId};
use parlance_domain::{Id, IdKind};
use parlance_storage::conversation_terms::Terms;
use parlance_storage::labels::{self, Label};
use parlance_storage::messages;
use parlance_storage::passages::{self, NewPassage};
use parlance_storage::webhooks::{self, Attempt, Delivery};
use parlance_testkit::{Actor, TestApp};
use serde_json::{Value, json};

use crate::world::UNKNOWN;

fn id<K: IdKind>(text: &str) -> Id<K> {
    Id::parse(text).unwrap()
}

/// A conversation with one message. Gives both.
async fn conversation(owner: &Actor, chatbot: &str) -> (String, MessageId) {
    let shown = owner.get(&format!("chatbots/{chatbot}/")).await.body_of(200);
    let conversation = owner.make("conversations/", &json!({"webChat": shown["apiWebChatId"]})).await;
    let message = owner.make("messages/", &json!({"conversation": conversation, "content": "0"})).await;
    (conversation, id(&message))
}

#[tokio::test]
async fn links_of_a_body_are_at_most_a_thousand_and_exist() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let (base, chatbot) = (app.base(), app.chatbot());
    let links = [
        (format!("chatbots/{chatbot}/"), "knowledgeBases", base.clone(), "No knowledge base has this id."),
        (format!("knowledge-bases/{base}/"), "chatbots", chatbot.clone(), "No chatbot has this id."),
    ];
    for (path, field, known, sentence) in links {
        owner.patch(&path, &json!({field: vec![&known; 1000]})).await.expect(200).json();
        assert_eq!(owner.get(&path).await.body_of(200)[field].as_array().unwrap().len(), 1, "each once");
        let refused = owner.patch(&path, &json!({field: vec![&known; 1001]})).await.body_of(400);
        assert_eq!(refused, json!({field: ["Ensure this field has no more than 1000 elements."]}));
        let refused = owner.patch(&path, &json!({field: [known, UNKNOWN, known]})).await.body_of(400);
        assert_eq!(refused, json!({field: [{}, {"id": [sentence]}]}));
    }
    let refused = owner.post("chatbots/", &json!({"name": "x", "knowledgeBases": vec![&base; 1001]})).await;
    assert!(refused.body_of(400)["knowledgeBases"].is_array());
}

#[tokio::test]
async fn a_page_of_knowledge_bases_shows_what_belongs_to_each() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let (first, chatbot) = (app.base(), app.chatbot());
    let other = owner.make("chatbots/", &json!({"name": "Other"})).await;
    let empty = owner.make("knowledge-bases/", &json!({"name": "Empty", "chatbots": []})).await;
    let second = owner.make("knowledge-bases/", &json!({"name": "Second", "chatbots": [other, chatbot]})).await;
    for (base, filename) in [(&first, "a.txt"), (&second, "b.txt"), (&second, "c.txt")] {
        owner.add_file(base, filename, "Text.").await;
    }
    let list = owner.get("knowledge-bases/").await.body_of(200);
    let shown: Vec<(&str, u64, Vec<&str>)> = list["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|base| {
            let chatbots = base["chatbots"].as_array().unwrap().iter();
            let chatbots = chatbots.map(|chatbot| chatbot["id"].as_str().unwrap()).collect();
            (base["id"].as_str().unwrap(), base["filesCount"].as_u64().unwrap(), chatbots)
        })
        .collect();
    let expected = [
        (second.as_str(), 2, vec![chatbot.as_str(), other.as_str()]),
        (empty.as_str(), 0, vec![]),
        (first.as_str(), 1, vec![chatbot.as_str()]),
    ];
    assert_eq!(shown, expected);
    for base in list["results"].as_array().unwrap() {
        let path = format!("knowledge-bases/{}/", base["id"].as_str().unwrap());
        assert_eq!(&owner.get(&path).await.body_of(200), base, "the same as alone");
    }
}

#[tokio::test]
async fn a_knowledge_base_holds_ten_thousand_labels() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let (tenant, base) = (app.tenant, app.base());
    let base_id: KnowledgeBaseId = id(&base);
    let rows: Vec<Label> = (0..9_999)
        .map(|number| Label {
            id: app.app.new_id(),
            knowledge_base_id: base_id,
            name: format!("label {number}"),
            name_folded: format!("label {number}"),
            created_at: app.app.now(),
        })
        .collect();
    app.app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                for row in &rows {
                    labels::insert(tx, tenant, row).await?;
                }
                Ok(())
            })
        })
        .await
        .unwrap();
    let sentence = "A knowledge base holds at most 10000 labels; delete one to make another.";
    let path = format!("knowledge-bases/{base}/labels/");
    let faqs = format!("knowledge-bases/{base}/faqs/");
    let faq = |names: &[&str]| {
        let labels: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        json!({"question": "Q", "answer": "A", "labels": labels})
    };
    // One has room, the second of the same request has not, and nothing of it stays.
    let refused = owner.post(&faqs, &faq(&["label 7", "new", "newer"])).await.body_of(400);
    assert_eq!(refused, json!({"labels": [{}, {}, {"name": [sentence]}]}));
    assert_eq!(owner.get(&path).await.body_of(200)["count"], 9_999);
    let last = owner.make(&path, &json!({"name": "last"})).await;
    let refused = owner.post(&path, &json!({"name": "one more"})).await.body_of(400);
    assert_eq!(refused, json!({"name": [sentence]}));
    owner.post(&faqs, &faq(&["label 7", "last"])).await.expect(201).json();
    owner.delete(&format!("{path}{last}/")).await.expect(204);
    owner.post(&path, &json!({"name": "one more"})).await.expect(201).json();
    // Another base has its own.
    let other = owner.make("knowledge-bases/", &json!({"name": "Other"})).await;
    owner.post(&format!("knowledge-bases/{other}/labels/"), &json!({"name": "x"})).await.expect(201).json();
}

/// Rows of the pages of a list when ten thousand are asked for at once, by following the links.
async fn walk(owner: &Actor, path: &str) -> Vec<usize> {
    let (mut next, mut sizes) = (Some(path.to_owned()), Vec::new());
    while let Some(path) = next {
        let page = owner.get(&path).await.body_of(200);
        sizes.push(page["results"].as_array().unwrap().len());
        next = page["next"].as_str().map(str::to_owned);
    }
    sizes
}

#[tokio::test]
async fn pages_of_rows_with_long_texts_are_smaller() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let (tenant, now) = (app.tenant, app.app.now());
    let chatbot = app.chatbot();
    let (_, message) = conversation(&owner, &chatbot).await;
    let delivery = Delivery {
        id: app.app.new_id(),
        chatbot_id: id(&chatbot),
        message_id: message,
        url: "https://hooks.example/".into(),
        body: "{}".into(),
        status: "failed".into(),
        attempts: 101,
        is_redelivery: false,
        next_attempt_at: now,
        created_at: now,
    };
    let attempts: Vec<Attempt> = (0..101)
        .map(|_| Attempt {
            id: app.app.new_id(),
            delivery_id: delivery.id,
            chatbot_id: delivery.chatbot_id,
            url: delivery.url.clone(),
            status_code: Some(500),
            response: "no".into(),
            duration_millis: 5,
            created_at: now,
        })
        .collect();
    let file = app.know(&[("a.txt", "Text.")]).await.remove(0);
    let place: (KnowledgeBaseId, FileId, i64) = (id(&app.base()), id(&file), 1);
    let rows: Vec<NewPassage> = (1..=1_000)
        .map(|ordinal| NewPassage {
            id: app.app.new_id(),
            ordinal,
            text: "More.".into(),
            heading: None,
            page: None,
            start: 0,
            end: 5,
        })
        .collect();
    app.app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                webhooks::insert(tx, tenant, &delivery).await?;
                for attempt in &attempts {
                    webhooks::insert_attempt(tx, tenant, attempt).await?;
                }
                passages::insert(tx, tenant, place, &rows, now).await
            })
        })
        .await
        .unwrap();
    let records = format!("chatbots/{chatbot}/webhook-records/?pageSize=10000");
    assert_eq!(walk(&owner, &records).await, [100, 1]);
    let nodes = format!("chatbot-text-nodes/?chatbotFile={file}&pageSize=10000");
    assert_eq!(walk(&owner, &nodes).await, [1_000, 1]);
}

#[tokio::test]
async fn a_part_of_long_messages_ends_early_and_its_links_lead_to_all() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let (tenant, chatbot) = (app.tenant, app.chatbot());
    let (conversation, first) = conversation(&owner, &chatbot).await;
    let conversation_id: ConversationId = id(&conversation);
    let text = "x".repeat(9 << 20);
    for number in 1..4 {
        let (message_id, content, at) = (app.app.new_id(), format!("{number}{text}"), app.app.now());
        app.app
            .db
            .write(tenant, move |tx| {
                Box::pin(async move {
                    let mut message = messages::get(tx, tenant, first).await?.unwrap();
                    assert_eq!(message.conversation_id, conversation_id);
                    message.id = message_id;
                    message.content = content;
                    message.created_at = at.plus(std::time::Duration::from_secs(number));
                    messages::insert(tx, tenant, &message, &Terms::NONE).await
                })
            })
            .await
            .unwrap();
    }
    let (mut next, mut seen) = (Some(format!("messages/?conversation={conversation}&pageSize=100")), Vec::new());
    let mut last = Value::Null;
    while let Some(path) = next {
        last = owner.get(&path).await.body_of(200);
        assert_eq!(last["count"], 4);
        let contents = last["results"].as_array().unwrap().iter().map(|message| message["content"].as_str().unwrap());
        seen.push(contents.map(|content| content[..1].to_owned()).collect::<String>());
        next = last["next"].as_str().map(str::to_owned);
    }
    assert_eq!(seen, ["3", "2", "10"]);
    // And back.
    let back = owner.get(last["previous"].as_str().unwrap()).await.body_of(200);
    assert!(back["results"][0]["content"].as_str().unwrap().starts_with('2'));
    assert!(back["previous"].is_string() && back["results"].as_array().unwrap().len() == 1);
}

#[tokio::test]
async fn a_page_that_would_fill_the_memory_asks_for_smaller_ones() {
    let app = TestApp::start().await;
    let owner = app.owner();
    for _ in 0..9 {
        owner.make("knowledge-bases/", &json!({"name": "x", "description": "x".repeat((2 << 20) - 100)})).await;
    }
    let refused = owner.get("knowledge-bases/?pageSize=10000").await.body_of(400);
    let sentence = "The texts of these rows are more than 16 MiB, too much for one page; ask for smaller pages.";
    assert_eq!(refused, json!({"pageSize": [sentence]}));
    assert_eq!(walk(&owner, "knowledge-bases/?pageSize=5").await, [5, 5]);
}
