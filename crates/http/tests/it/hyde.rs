//! Searching with an invented passage too.

use std::sync::Arc;

use parlance_llm::{EmbeddingPurpose, ErrorKind, Usage};
use parlance_testkit::{Script, ScriptedChat, ScriptedEmbedding, Step, TestApp};
use serde_json::{Value, json};

const RETURNS: &str = "Purchases are taken back for a week when the receipt is shown.";
const QUESTION: &str = "Can I undo my order?";
const INVENTED: &str = "Purchases are taken back within one month with receipt.";

async fn hits(app: &TestApp) -> Vec<Value> {
    let path = format!("knowledge-bases/{}/search/", app.base());
    app.owner().post(&path, &json!({"query": QUESTION})).await.body_of(200).as_array().unwrap().clone()
}

async fn set(app: &TestApp, body: Value) {
    app.owner().patch(&format!("knowledge-bases/{}/", app.base()), &body).await.expect(200).json();
}

#[tokio::test]
async fn a_passage_is_invented_only_where_the_base_wants_it_and_a_failure_costs_nothing_else() {
    let chat = Arc::new(ScriptedChat::new([
        Script::text([INVENTED]),
        Script::refuse(ErrorKind::Unavailable),
        Script::text([INVENTED]),
        Script::text(["Yes, for a week[1]."]),
    ]));
    let app = TestApp::builder().chat(&chat).start().await;
    app.know(&[("returns.txt", RETURNS), ("hours.txt", "The shop opens at ten.")]).await;
    assert!(hits(&app).await.is_empty(), "they share no word");
    assert!(chat.requests().is_empty());

    set(&app, json!({"enableHyde": true})).await;
    let found = hits(&app).await;
    assert_eq!((found.len(), &found[0]["text"]), (1, &json!(RETURNS)));
    assert_eq!(found[0]["score"], 0.0, "the question has no word of it");
    let asked = chat.requests();
    assert_eq!((asked.len(), asked[0].question.as_str()), (1, QUESTION));
    assert!(asked[0].max_output_tokens.is_some() && asked[0].sources.is_empty());
    assert!(hits(&app).await.is_empty(), "the model failed");

    // In an answer the assistant's model invents, and the time is told.
    let events = app.owner().stream(&app.chatbot(), &json!({"message": {"content": QUESTION}})).await.rest().await;
    assert_eq!(chat.requests().len(), 4);
    let done = &events.last().unwrap().data;
    assert_eq!(done["citationNodes"][0]["chatbotTextNode"]["text"], RETURNS);
    let time = |stage: &str| done["processingTime"][stage].as_f64().unwrap();
    assert!(time("hyde") > 0.0 && time("hyde") <= time("retrieval"), "{done}");
    assert!(chat.requests()[3].messages.iter().all(|message| !message.text.contains(INVENTED)), "shown to nobody");
}

/// A model that counts: `input` and `output` tokens for what it says.
fn counted(text: &str, input_tokens: u64, output_tokens: u64) -> Script {
    let usage = Usage { input_tokens, output_tokens, cached_tokens: input_tokens / 10, estimated: false };
    Script::Answer(vec![Step::Text(text.to_owned()), Step::Usage(usage)])
}

#[tokio::test]
async fn every_call_of_a_turn_counts_in_its_usage() {
    let chat = Arc::new(ScriptedChat::new([
        // Invented, answered.
        counted(INVENTED, 100, 20),
        counted("Yes[1].", 1000, 5),
        // Condensed, invented, answered; then the same with an invention that breaks off.
        counted(QUESTION, 200, 10),
        counted(INVENTED, 100, 20),
        counted("Still yes[1].", 2000, 7),
        counted(QUESTION, 200, 10),
        Script::Answer(vec![Step::Text("12345678".into()), Step::Fail(ErrorKind::Network)]),
        counted("Yes.", 3000, 7),
        // Cancelled by a fault: what went before counts.
        counted(QUESTION, 200, 10),
        counted(INVENTED, 100, 20),
        Script::refuse(ErrorKind::Unavailable),
    ]));
    let app = TestApp::builder().chat(&chat).start().await;
    app.know(&[("returns.txt", RETURNS)]).await;
    set(&app, json!({"enableHyde": true})).await;
    let owner = app.owner();
    let events = owner.stream(&app.chatbot(), &json!({"message": {"content": QUESTION}})).await.rest().await;
    let done = &events.last().unwrap().data;
    let tokens = |usage: &Value| {
        ["inputTokens", "outputTokens", "cachedTokens"].map(|key| usage[key].as_u64().unwrap_or_default())
    };
    assert_eq!(tokens(&done["usage"]), [1100, 25, 110]);
    let record = async |message: &Value| {
        let record = crate::stored::stored(&app, message).await.1.unwrap();
        serde_json::from_str::<Value>(&record.tokens).unwrap()
    };
    let expected = json!({"input": 1100, "output": 25, "cached": 110, "total": 1125, "estimated": false});
    assert_eq!(record(&done["messageId"]).await, expected);
    // Told again from the record it is the same.
    let again = owner.follow(done["messageId"].as_str().unwrap(), 0).await.rest().await;
    assert_eq!(tokens(&again.last().unwrap().data["usage"]), [1100, 25, 110]);

    let path = format!("chatbots/{}/completions/", app.chatbot());
    let body = json!({"conversation": done["conversationId"], "message": {"content": "And then?"}});
    let answer = owner.post(&path, &body).await.body_of(200);
    assert_eq!(tokens(&answer["usage"]), [2300, 37, 230]);
    let answer = owner.post(&path, &body).await.body_of(200);
    let stored = record(&answer["messageId"]).await;
    assert_eq!(stored["estimated"], true, "a call that broke off was counted by nobody");
    let (input, output) = (stored["input"].as_u64().unwrap(), stored["output"].as_u64().unwrap());
    assert!(input > 3200 && input < 3400 && output == 17 + 2, "{stored}");
    assert_eq!(tokens(&answer["usage"])[..2], [input, output]);
    let failed = owner.post(&path, &body).await.body_of(503);
    let stored = record(&failed["messageId"]).await;
    assert!(stored["input"].as_u64().unwrap() > 300 && stored["output"] == 30, "{stored}");
    assert_eq!(chat.scripts_left(), 0);
}

#[tokio::test]
async fn the_built_in_model_is_not_asked_to_invent() {
    let app = TestApp::start().await;
    app.know(&[("returns.txt", RETURNS)]).await;
    set(&app, json!({"enableHyde": true})).await;
    assert!(hits(&app).await.is_empty());
    let events = app.owner().stream(&app.chatbot(), &json!({"message": {"content": "receipt"}})).await.rest().await;
    assert_eq!(events.last().unwrap().data["processingTime"]["hyde"], 0.0);
}

#[tokio::test]
async fn scores_are_against_the_question_also_for_what_only_the_invented_passage_proposes() {
    let chat = Arc::new(ScriptedChat::always(Script::text([INVENTED])));
    let embedding = Arc::new(ScriptedEmbedding::new(64));
    let app = TestApp::builder()
        .chat(&chat)
        .embedding("e", &embedding)
        .settings(|settings| settings.passage_characters = 70)
        .start()
        .await;
    // Far more passages near to the question than an index proposes.
    let near: Vec<_> = (0..300).map(|number| format!("{QUESTION} This is line number {number} of a list.")).collect();
    app.know(&[("near.txt", near.join("\n\n").as_str()), ("returns.txt", RETURNS)]).await;
    let score = |found: &[Value]| {
        let one = found.iter().find(|hit| hit["text"] == RETURNS);
        one.map(|hit| hit["score"].as_f64().unwrap())
    };
    set(&app, json!({"numberOfRetrievedChunks": 40})).await;
    assert_eq!(score(&hits(&app).await), None, "the question alone does not reach it");
    set(&app, json!({"enableHyde": true})).await;
    let scored = score(&hits(&app).await).unwrap();
    let (asked, found) = (embedding.vector(QUESTION), embedding.vector(RETURNS));
    let expected: f32 = asked.iter().zip(&found).map(|(one, other)| one * other).sum();
    assert!((scored - f64::from(expected)).abs() < 1e-5 && expected > 0.0, "{scored} and {expected}");
    let calls = embedding.calls();
    assert!(calls.contains(&(vec![INVENTED.to_owned()], EmbeddingPurpose::Passage)), "it stands for a passage");
}
