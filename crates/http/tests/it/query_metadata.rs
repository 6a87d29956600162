//! What a question may see: search, answers and citations never leave it.

use parlance_testkit::{Actor, TestApp};
use serde_json::{Value, json};

struct Known {
    app: TestApp,
    base: String,
    other: String,
    files: Vec<String>,
    faqs: Vec<String>,
    label: String,
}

/// Two bases with files and FAQs that all answer the same question.
async fn known() -> Known {
    let app = TestApp::start().await;
    let owner = app.owner();
    let base = app.base();
    let other = owner.make("knowledge-bases/", &json!({"name": "Other", "chatbots": [{"id": app.chatbot()}]})).await;
    let label = owner.make(&format!("knowledge-bases/{base}/labels/"), &json!({"name": "Public"})).await;
    let (mut files, mut faqs) = (Vec::new(), Vec::new());
    for (base, name) in [(&base, "alpha"), (&base, "beta"), (&other, "gamma")] {
        files.push(
            owner.add_file(base, &format!("{name}.txt"), &format!("The warranty of {name} lasts one year.")).await,
        );
        let faq = json!({"question": format!("Warranty of {name} by phone?"), "answer": "Call us about the warranty."});
        faqs.push(owner.make(&format!("knowledge-bases/{base}/faqs/"), &faq).await);
    }
    let first = format!("knowledge-bases/{base}/files/{}/", files[0]);
    owner.patch(&first, &json!({"labels": [{"id": label}]})).await.expect(200);
    app.run_jobs().await;
    Known { app, base, other, files, faqs, label }
}

const QUESTION: &str = "warranty";

impl Known {
    fn owner(&self) -> Actor {
        self.app.owner()
    }

    /// Ids of the files and FAQs that a question with this metadata finds, in any order.
    async fn found(&self, metadata: &Value) -> Vec<String> {
        let path = format!("chatbots/{}/search/", self.app.chatbot());
        let body = json!({"query": QUESTION, "queryMetadata": metadata});
        let hits = self.owner().post(&path, &body).await.body_of(200);
        Self::sources(hits.as_array().unwrap().iter().map(|hit| (&hit["chatbotFile"]["id"], &hit["id"])))
    }

    /// Those that are put before the model when a message with this metadata is asked.
    async fn shown(&self, body: Value) -> Vec<String> {
        let events = self.owner().stream(&self.app.chatbot(), &body).await.rest().await;
        let citations = events.iter().find(|event| event.kind() == "citations").unwrap();
        let nodes = citations.data["citationNodes"].as_array().unwrap();
        Self::sources(
            nodes.iter().map(|node| (&node["chatbotTextNode"]["chatbotFile"], &node["chatbotTextNode"]["id"])),
        )
    }

    fn sources<'a>(hits: impl Iterator<Item = (&'a Value, &'a Value)>) -> Vec<String> {
        let mut ids: Vec<String> = hits.map(|(file, own)| file.as_str().or(own.as_str()).unwrap().to_owned()).collect();
        ids.sort();
        ids
    }

    fn all(&self, files: &[usize], faqs: &[usize]) -> Vec<String> {
        let mut ids: Vec<String> = files
            .iter()
            .map(|at| self.files[*at].clone())
            .chain(faqs.iter().map(|at| self.faqs[*at].clone()))
            .collect();
        ids.sort();
        ids
    }
}

fn message(metadata: &Value) -> Value {
    json!({"message": {"content": QUESTION, "query_metadata": metadata}})
}

#[tokio::test]
async fn a_question_sees_what_its_metadata_permits() {
    let known = known().await;
    let base = |members: Value| {
        let mut entry = json!({"knowledge_base_id": known.base});
        entry.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        entry
    };
    for (metadata, expected) in [
        (Value::Null, known.all(&[0, 1, 2], &[0, 1, 2])),
        (json!({}), known.all(&[0, 1, 2], &[0, 1, 2])),
        (json!({"other": true}), vec![]),
        (json!({"knowledge_bases": []}), vec![]),
        (json!({"knowledge_bases": [base(json!({"has_user_selected_all": "True"}))]}), known.all(&[0, 1], &[0, 1])),
        (
            json!({"knowledgeBases": [{"knowledgeBaseId": known.other, "hasUserSelectedAll": true}]}),
            known.all(&[2], &[2]),
        ),
        // Example A of the contract: a label and FAQs.
        (
            json!({"knowledge_bases": [base(json!({"faq_ids": [known.faqs[1]]}))],
                "label_relations": {"operator": "OR", "conditions": [{"label_id": known.label}]}}),
            known.all(&[0], &[1]),
        ),
        // Example B: files alone.
        (json!({"knowledge_bases": [base(json!({"chatbot_file_ids": [known.files[1]]}))]}), known.all(&[1], &[0, 1])),
        // A file of another base does not come in through this one, nor does what does not exist.
        (
            json!({"knowledge_bases": [base(json!({"chatbot_file_ids": [known.files[2], "x"], "faq_ids": ["y"]}))]}),
            vec![],
        ),
    ] {
        assert_eq!(known.found(&metadata).await, expected, "{metadata}");
        assert_eq!(known.shown(message(&metadata)).await, expected, "{metadata}");
    }
    let path = format!("knowledge-bases/{}/search/", known.base);
    let metadata = json!({"knowledge_bases": [base(json!({"chatbot_file_ids": [known.files[0]], "faq_ids": ["y"]}))]});
    let hits = known.owner().post(&path, &json!({"query": QUESTION, "query_metadata": metadata})).await.body_of(200);
    assert_eq!((hits.as_array().unwrap().len(), hits[0]["chatbotFile"]["id"].clone()), (1, json!(known.files[0])));
}

#[tokio::test]
async fn assistant_contact_and_message_only_narrow() {
    let known = known().await;
    let owner = known.owner();
    let whole = |base: &str| json!({"knowledge_base_id": base, "has_user_selected_all": true});
    let chatbot = format!("chatbots/{}/", known.app.chatbot());
    let own = json!({"knowledge_bases": [whole(&known.base)]});
    let stored = owner.patch(&chatbot, &json!({"queryMetadata": own})).await.body_of(200);
    assert_eq!(stored["queryMetadata"], own, "kept as it came");
    let both = json!({"knowledge_bases": [whole(&known.base), whole(&known.other)]});
    assert_eq!(known.shown(message(&both)).await, known.all(&[0, 1], &[0, 1]), "a message opens nothing");
    assert_eq!(known.found(&json!({"knowledge_bases": [whole(&known.other)]})).await, [""; 0]);

    // A contact who may see one file only, in a new conversation and when it goes on.
    let narrow = json!({"knowledge_bases": [{"knowledge_base_id": known.base,
        "chatbot_file_ids": [known.files[1], known.files[2]], "faq_ids": [known.faqs[0]]}]});
    let asked = json!({"message": {"content": "hi"}, "sourceId": "me"});
    let answer = owner.post(&format!("{chatbot}completions/"), &asked).await.body_of(200);
    narrow_contact(&known, &narrow).await;
    let asked = json!({"message": {"content": QUESTION, "queryMetadata": both}, "sourceId": "me"});
    assert_eq!(known.shown(asked).await, known.all(&[1], &[0]));
    let goes_on = json!({"message": {"content": QUESTION}, "conversation": answer["conversationId"]});
    assert_eq!(known.shown(goes_on).await, known.all(&[1], &[0]));
    let nobody = json!({"message": {"content": QUESTION}});
    assert_eq!(known.shown(nobody).await, known.all(&[0, 1], &[0, 1]), "others are not narrowed");
}

/// Narrows the contact that has a source id, and each inbox but to the base of the contact.
async fn narrow_contact(known: &Known, metadata: &Value) {
    use parlance_storage::conversation_terms::Terms;
    use parlance_storage::{contacts, inboxes};
    let (tenant, text, chatbot) = (known.app.tenant, metadata.to_string(), known.app.first.chatbot);
    let write = known.app.app.db.write(tenant, move |tx| {
        Box::pin(async move {
            let inbox = inboxes::of_api(tx, tenant, chatbot).await?.unwrap();
            let contact = contacts::by_source(tx, tenant, inbox.id, "me").await?.unwrap();
            contacts::update(tx, tenant, &contacts::Contact { query_metadata: Some(text), ..contact }, &Terms::NONE)
                .await
        })
    });
    assert!(write.await.unwrap());
}

#[tokio::test]
async fn an_inbox_narrows_its_conversations() {
    use parlance_storage::inboxes;
    let known = known().await;
    let (tenant, chatbot) = (known.app.tenant, known.app.first.chatbot);
    let text = json!({"knowledge_bases": [{"knowledge_base_id": known.other}]}).to_string();
    let write = known.app.app.db.write(tenant, move |tx| {
        Box::pin(async move {
            let inbox = inboxes::of_api(tx, tenant, chatbot).await?.unwrap();
            inboxes::update(tx, tenant, &inboxes::Inbox { query_metadata: Some(text), ..inbox }).await
        })
    });
    assert!(write.await.unwrap());
    known.app.app.plans.forget(tenant);
    assert_eq!(known.shown(message(&Value::Null)).await, known.all(&[2], &[2]));
}

#[tokio::test]
async fn what_is_malformed_is_refused_on_its_field() {
    let known = known().await;
    let owner = known.owner();
    let chatbot = format!("chatbots/{}/", known.app.chatbot());
    for wrong in [json!("x"), json!([1]), json!({"knowledge_bases": [{}]}), json!({"knowledgeBases": 7})] {
        let refused = owner.post(&format!("{chatbot}completions/"), &message(&wrong)).await.body_of(400);
        assert!(refused["message"]["queryMetadata"].is_array(), "{refused}");
        let search = json!({"query": "x", "query_metadata": wrong});
        for path in [format!("{chatbot}search/"), format!("knowledge-bases/{}/search/", known.base)] {
            assert!(owner.post(&path, &search).await.body_of(400)["queryMetadata"].is_array());
        }
        let refused = owner.patch(&chatbot, &json!({"queryMetadata": wrong})).await.body_of(400);
        assert!(refused["queryMetadata"].is_array(), "{refused}");
    }
}
