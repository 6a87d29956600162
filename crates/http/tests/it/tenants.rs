//! Many organisations with the same kind of documents and the same questions: nothing of one reaches
//! another, in results, prompts, answers or citations.

use std::sync::Arc;

use parlance_testkit::{Actor, Script, ScriptedChat, ScriptedEmbedding, ScriptedRerank, TestApp};
use serde_json::{Value, json};

const ORGANISATIONS: usize = 12;
const DOCUMENTS: usize = 5;
const SUBJECTS: [&str; DOCUMENTS] = ["退貨", "warranty", "運費", "opening hours", "會員"];

struct Member {
    actor: Actor,
    base: String,
    chatbot: String,
    files: Vec<String>,
}

/// A word that only this document of this organisation has.
fn canary(organisation: usize, document: usize) -> String {
    format!("canary{organisation:02}x{document:02}q")
}

async fn member(actor: Actor, number: usize) -> Member {
    // The same names everywhere.
    let base = actor.make("knowledge-bases/", &json!({"name": "Handbook"})).await;
    let mut files = Vec::new();
    for (document, subject) in SUBJECTS.iter().enumerate() {
        let text = format!("{subject}: the rule of this shop about {subject} is {}.", canary(number, document));
        files.push(actor.add_file(&base, &format!("rule-{document}.txt"), &text).await);
    }
    let chatbot = actor.make("chatbots/", &json!({"name": "Clerk", "knowledgeBases": [{"id": base}]})).await;
    Member { actor, base, chatbot, files }
}

/// Fails when `text` has a canary of another organisation.
fn is_only_of(number: usize, text: &str, what: &str) {
    for found in text.split("canary").skip(1) {
        let owner: String = found.chars().take(2).collect();
        assert_eq!(owner, format!("{number:02}"), "{what}: {text}");
    }
}

#[tokio::test]
async fn what_one_organisation_knows_reaches_no_other() {
    let chat = Arc::new(ScriptedChat::always(Script::text(["The rule is as it is written [1]."])));
    let (embedding, rerank) = (Arc::new(ScriptedEmbedding::new(16)), Arc::new(ScriptedRerank::default()));
    let app = TestApp::builder().chat(&chat).embedding("near", &embedding).rerank(&rerank).start().await;
    let mut members = vec![member(app.owner(), 0).await];
    for number in 1..ORGANISATIONS {
        members.push(member(app.other_organisation().await, number).await);
    }
    app.run_jobs().await;
    let mut questions: Vec<String> = SUBJECTS.iter().map(|subject| format!("規則 rule {subject}")).collect();
    questions.extend([canary(0, 0), canary(7, 3), "canary".to_owned(), "*".to_owned(), "rule OR canary".to_owned()]);
    let mut found = 0;
    for (number, member) in members.iter().enumerate() {
        for question in &questions {
            let path = format!("knowledge-bases/{}/search/", member.base);
            let foreign = members[(number + 1) % ORGANISATIONS].base.clone();
            for narrowed in [
                json!({}),
                json!({"queryMetadata": null}),
                json!({"queryMetadata": {}}),
                // What a caller names the scope's own key is only theirs.
                json!({"organisation": foreign, "org_id": foreign, "knowledgeBase": foreign, "tenant": null}),
            ] {
                let mut body = json!({"query": question});
                body.as_object_mut().unwrap().extend(narrowed.as_object().unwrap().clone());
                let hits = member.actor.post(&path, &body).await.body_of(200);
                found += hits.as_array().unwrap().len();
                is_only_of(number, &hits.to_string(), "a search");
            }
            let before = chat.requests().len();
            let scope = json!({"knowledge_bases": [{"knowledge_base_id": foreign, "has_user_selected_all": true}]});
            for metadata in [Value::Null, scope] {
                let message = json!({"content": question, "queryMetadata": metadata});
                let path = format!("chatbots/{}/completions/", member.chatbot);
                let answer = member.actor.post(&path, &json!({"message": message})).await.body_of(200);
                is_only_of(number, &answer.to_string().replace(question.as_str(), ""), "an answer");
            }
            for request in &chat.requests()[before..] {
                for message in &request.messages {
                    is_only_of(number, &message.text.replace(question.as_str(), ""), "a prompt");
                }
            }
        }
        // Files of others are not there, whatever they are asked through.
        let stranger = &members[(number + 5) % ORGANISATIONS];
        let nodes = member.actor.get(&format!("chatbot-text-nodes/?chatbotFile={}", stranger.files[0])).await;
        nodes.expect(400).text();
        let path = format!("knowledge-bases/{}/search/?query=rule", stranger.base);
        member.actor.get(&path).await.expect(404).text();
    }
    assert!(found > ORGANISATIONS * DOCUMENTS * 4, "only {found} passages were found in all");
    for (texts, _) in embedding.calls() {
        let owners: std::collections::BTreeSet<&str> =
            texts.iter().filter_map(|text| text.split_once("canary")?.1.get(..2)).collect();
        assert!(owners.len() <= 1, "one request embeds passages of {owners:?}");
    }

    // What was deleted reaches no prompt any more.
    let first = &members[0];
    let path = format!("knowledge-bases/{}/files/{}/", first.base, first.files[1]);
    first.actor.delete(&path).await.expect(204).text();
    let before = chat.requests().len();
    first.actor.ask(&first.chatbot, "What is the warranty rule?").await;
    let prompts = &chat.requests()[before..];
    assert!(!prompts.is_empty());
    assert!(prompts.iter().all(|request| request.messages.iter().all(|one| !one.text.contains(&canary(0, 1)))));
}
