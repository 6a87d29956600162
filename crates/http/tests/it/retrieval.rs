//! What is found, in which order, and what of it reaches the model.

use std::sync::Arc;

use parlance_llm::{EmbeddingPurpose, ErrorKind};
use parlance_testkit::{Script, ScriptedChat, ScriptedEmbedding, ScriptedRerank, TestApp};
use serde_json::{Value, json};

const RETURNS: &str = "商品到貨後七天內可以退貨，請保留發票。";
const OPENING: &str = "門市每天上午十點開門，晚上九點關門。";
const SHIPPING: &str = "訂單滿一千元免運費，外島地區另計。";

fn three() -> [(&'static str, &'static str); 3] {
    [("退貨.txt", RETURNS), ("時間.txt", OPENING), ("運費.txt", SHIPPING)]
}

async fn hits(app: &TestApp, query: &str) -> Vec<Value> {
    let path = format!("knowledge-bases/{}/search/", app.base());
    app.owner().post(&path, &json!({"query": query})).await.body_of(200).as_array().unwrap().clone()
}

async fn set(app: &TestApp, body: Value) {
    app.owner().patch(&format!("knowledge-bases/{}/", app.base()), &body).await.expect(200).json();
}

#[tokio::test]
async fn either_script_finds_the_other() {
    let app = TestApp::start().await;
    app.know(&three()).await;
    for (query, expected) in [
        ("商品可以退貨嗎", RETURNS),
        ("商品可以退货吗", RETURNS),
        ("门市几点开门", OPENING),
        ("门市几点关门？", OPENING),
        ("订单免运费", SHIPPING),
        ("運費", SHIPPING),
    ] {
        assert_eq!(hits(&app, query).await[0]["text"], expected, "{query}");
    }
    let answer = app.owner().ask(&app.chatbot(), "商品几天内可以退货？").await;
    assert!(answer["content"].as_str().unwrap().contains("七"), "{answer}");
    assert_eq!(answer["citations"][0]["filename"], "退貨.txt");
    assert!(hits(&app, "zebra").await.is_empty());
}

#[tokio::test]
async fn cutoff_and_number_bound_what_is_found() {
    let app = TestApp::start().await;
    app.know(&three()).await;
    let query = "退貨 開門 運費";
    let all = hits(&app, query).await;
    assert_eq!(all.len(), 3);
    let mut scores: Vec<f64> = all.iter().map(|hit| hit["score"].as_f64().unwrap()).collect();
    scores.sort_by(f64::total_cmp);
    assert!(scores[0] > 0.0 && scores[2] <= 1.0);
    set(&app, json!({"numberOfRetrievedChunks": 2})).await;
    assert_eq!(hits(&app, query).await, all[..2]);
    set(&app, json!({"numberOfRetrievedChunks": 12, "similarityCutoff": 1.0})).await;
    assert!(hits(&app, query).await.is_empty());
    set(&app, json!({"similarityCutoff": 0.0})).await;
    assert_eq!(hits(&app, query).await.len(), 3);
    // The assistant's own number goes before the base's.
    let chatbot = format!("chatbots/{}/", app.chatbot());
    app.owner().patch(&chatbot, &json!({"numberOfRetrievedChunks": 1})).await.expect(200).json();
    let events = app.owner().stream(&app.chatbot(), &json!({"message": {"content": query}})).await.rest().await;
    assert_eq!(events[0].data["citationNodes"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn neighbouring_sentences_go_into_the_prompt_and_not_into_the_citation() {
    let chat = Arc::new(ScriptedChat::always(Script::text(["Yes[1]."])));
    let app = TestApp::builder().chat(&chat).settings(|settings| settings.passage_characters = 60).start().await;
    let text = "The first chapter is about nothing much at all here.\n\nOtters sleep holding hands in the cold water.\n\nThe third chapter is about something else again.";
    app.know(&[("book.txt", text)]).await;
    set(&app, json!({"numberOfRetrievedChunks": 1, "sentenceWindowSize": 1})).await;
    let answer = app.owner().ask(&app.chatbot(), "Where do otters sleep holding hands?").await;
    let cited = answer["citationNodes"][0]["chatbotTextNode"]["text"].as_str().unwrap();
    assert!(cited.contains("Otters") && !cited.contains("chapter"), "{cited}");
    let prompt = |number: usize| chat.requests()[number].messages.last().unwrap().text.clone();
    assert!(prompt(0).contains("first chapter") && prompt(0).contains("third chapter"), "{}", prompt(0));
    set(&app, json!({"sentenceWindowSize": 0})).await;
    app.owner().ask(&app.chatbot(), "Where do otters sleep holding hands?").await;
    assert!(!prompt(1).contains("chapter"), "{}", prompt(1));
}

#[tokio::test]
async fn the_rerank_model_decides_the_order_and_may_fail() {
    let rerank = Arc::new(ScriptedRerank::default());
    let app = TestApp::builder().rerank(&rerank).start().await;
    app.know(&three()).await;
    let query = "門市退貨";
    let found = hits(&app, query).await;
    assert_eq!(rerank.calls().len(), 1);
    let scores: Vec<f64> = found.iter().map(|hit| hit["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|one, other| one >= other), "{scores:?}");
    assert!((scores[0] - 0.5).abs() < 1e-6, "two of four characters: {scores:?}");
    rerank.fail_next([ErrorKind::Unavailable]);
    assert_eq!(hits(&app, query).await.len(), found.len(), "the order of the search stands");
    set(&app, json!({"enableRerank": false})).await;
    hits(&app, query).await;
    assert_eq!(rerank.calls().len(), 2);
}

#[tokio::test]
async fn vectors_find_what_words_do_not_and_follow_the_bases_model() {
    let (first, second) = (Arc::new(ScriptedEmbedding::new(64)), Arc::new(ScriptedEmbedding::new(32)));
    let app = TestApp::builder().embedding("second", &second).embedding("first", &first).start().await;
    app.know(&three()).await;
    let of_passages = |model: &ScriptedEmbedding| {
        model
            .calls()
            .iter()
            .filter(|(_, purpose)| *purpose == EmbeddingPurpose::Passage)
            .map(|(texts, _)| texts.len())
            .sum::<usize>()
    };
    assert_eq!((of_passages(&first), of_passages(&second)), (3, 0));
    let found = hits(&app, "商品到貨後七天內可以退貨").await;
    assert_eq!((found.len(), found[0]["text"].clone()), (3, json!(RETURNS)));
    // A failure of the embedding model leaves the words.
    first.fail_next([ErrorKind::Network]);
    assert_eq!(hits(&app, "退貨").await[0]["text"], RETURNS);

    let models = app.owner().get("embedding-models/").await.body_of(200);
    let other = models.as_array().unwrap().iter().find(|model| model["name"] == "second").unwrap();
    set(&app, json!({"embeddingModel": other["id"]})).await;
    let files = app.owner().get(&format!("knowledge-bases/{}/files/", app.base())).await.body_of(200);
    assert_eq!(files["results"][0]["status"], "done", "the request only queues the work: {files}");
    assert_eq!(hits(&app, "退貨").await[0]["text"], RETURNS, "searchable meanwhile");
    app.run_jobs().await;
    assert_eq!((of_passages(&first), of_passages(&second)), (3, 3));
    let calls = first.calls().len();
    assert_eq!(hits(&app, "商品到貨後七天內可以退貨").await.len(), 3);
    assert_eq!(first.calls().len(), calls, "the base's model is asked, no other");
}
