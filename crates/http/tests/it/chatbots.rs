//! Assistants and the models they choose from.

use std::sync::Arc;

use parlance_testkit::{ScriptedChat, ScriptedEmbedding, TestApp};
use serde_json::{Value, json};

#[tokio::test]
async fn an_assistant_is_made_changed_copied_and_removed() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let format = json!({"type": "object", "properties": {"a_key": {"type": "string"}}, "Other_Key": null});
    let body = json!({
        "name": "客服 Bot", "instructions": "Be kind.", "knowledge_bases": [{"id": app.base(), "name": "ignored"}],
        "numberOfRetrievedChunks": 5, "webhook_url": "https://hook.example/x", "replyMode": "agent",
        "enable_evaluation": true, "raw_output_format": format, "outputMode": "json_schema", "template": "T",
        "databases": [{"id": "1", "name": "d"}], "toolkits": ["t"], "agent_mode": "canvas", "unknownKey": 1,
    });
    let made = owner.post("chatbots/", &body).await.body_of(201);
    for (name, value) in [
        ("name", json!("客服 Bot")),
        ("instructions", json!("Be kind.")),
        ("numberOfRetrievedChunks", json!(5)),
        ("webhookUrl", json!("https://hook.example/x")),
        ("replyMode", json!("agent")),
        ("enableEvaluation", json!(true)),
        ("rawOutputFormat", format),
        ("outputMode", json!("json_schema")),
        ("template", json!("T")),
        ("databases", json!([{"id": "1", "name": "d"}])),
        ("toolkits", json!(["t"])),
        ("tools", json!([])),
        ("agentMode", json!("canvas")),
        ("totalWordsCount", json!(0)),
    ] {
        assert_eq!(made[name], value, "{name}");
    }
    assert_eq!(made["knowledgeBases"][0]["id"], app.base());
    assert!(made["apiWebChatId"].is_string() && made.get("unknownKey").is_none() && made.get("warnings").is_none());
    let path = format!("chatbots/{}/", made["id"].as_str().unwrap());
    assert_eq!(owner.get(&path).await.body_of(200), made);

    let changed =
        owner.put(&path, &json!({"instructions": "Be brief.", "number_of_retrieved_chunks": null})).await.body_of(200);
    assert_eq!((changed["name"].clone(), changed["template"].clone()), (made["name"].clone(), json!("T")));
    assert_eq!(
        (changed["instructions"].clone(), changed["numberOfRetrievedChunks"].clone()),
        (json!("Be brief."), Value::Null)
    );
    let both = owner.patch(&path, &json!({"reply_mode": "hybrid", "replyMode": "template"})).await.body_of(200);
    assert_eq!(both["replyMode"], "template", "camelCase wins");
    for (body, field) in [
        (json!({"name": " "}), "name"),
        (json!({"name": null, "instructions": 5}), "instructions"),
        (json!({"replyMode": "nonsense"}), "replyMode"),
        (json!({"numberOfRetrievedChunks": 0}), "numberOfRetrievedChunks"),
        (json!({"numberOfRetrievedChunks": 99_999_999_999_i64}), "numberOfRetrievedChunks"),
        (json!({"webhookUrl": "ftp://x"}), "webhookUrl"),
        (json!({"knowledgeBases": "x"}), "knowledgeBases"),
    ] {
        let refused = owner.patch(&path, &body).await.body_of(400);
        assert!(refused.get(field).is_some(), "{body} {refused}");
    }
    let copy = owner.post(&format!("{path}duplicate/"), &json!({})).await.body_of(201);
    assert_ne!(copy["id"], made["id"]);
    assert_ne!(copy["apiWebChatId"], made["apiWebChatId"]);
    assert_eq!(
        (copy["name"].clone(), copy["rawOutputFormat"].clone()),
        (json!("客服 Bot (copy)"), made["rawOutputFormat"].clone())
    );
    assert_eq!(copy["knowledgeBases"], made["knowledgeBases"]);

    let switch = format!("{path}enable-evaluation/");
    assert_eq!(
        owner.patch(&switch, &json!({"enable_evaluation": false})).await.body_of(200),
        json!({"enableEvaluation": false})
    );
    assert_eq!(owner.patch(&switch, &json!({})).await.body_of(200), json!({"enableEvaluation": false}));
    assert!(owner.delete(&path).await.expect(204).body.is_empty());
    owner.get(&path).await.expect(404).json();
    owner.get(&format!("chatbots/{}/", copy["id"].as_str().unwrap())).await.expect(200).json();
}

#[tokio::test]
async fn assistants_choose_their_model_and_are_found_by_it() {
    let chat = Arc::new(ScriptedChat::default());
    let embedding = Arc::new(ScriptedEmbedding::new(16));
    let app = TestApp::builder().chat(&chat).embedding("near", &embedding).start().await;
    let owner = app.owner();
    let models = owner.get("large-language-models/").await.body_of(200);
    let names: Vec<&str> = models.as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["scripted", "extractive"]);
    assert_eq!((models[0]["isDefault"].clone(), models[1]["isDefault"].clone()), (json!(true), json!(false)));
    assert_eq!(owner.get("embedding-models/").await.body_of(200)[0]["name"], "near");
    assert_eq!(owner.get("reranker-models/").await.body_of(200), json!([]));
    let (default, other) = (models[0]["id"].as_str().unwrap(), models[1]["id"].as_str().unwrap());

    let chosen = owner.post("chatbots/", &json!({"name": "Chosen", "model": other})).await.body_of(201);
    assert_eq!(chosen["largeLanguageModel"], other);
    let by_object =
        owner.post("chatbots/", &json!({"name": "Object", "large_language_model": {"id": default}})).await.body_of(201);
    assert_eq!(by_object["largeLanguageModel"], default);
    for unknown in [json!("gpt-99"), json!(crate::world::UNKNOWN)] {
        let made = owner.post("chatbots/", &json!({"name": "Unknown", "model": unknown})).await.body_of(201);
        assert_eq!(made["largeLanguageModel"], default);
        assert_eq!(made["warnings"].as_array().unwrap().len(), 1);
    }
    let count = async |query: String| owner.get(&format!("chatbots/?{query}")).await.body_of(200)["count"].clone();
    assert_eq!(count(format!("largeLanguageModel={other}")).await, 1);
    // Those without a choice of their own follow the default and are shown with it.
    assert_eq!(count(format!("large_language_model={default}")).await, 4);
    assert_eq!(count("largeLanguageModel=nonsense".into()).await, 0);
    assert_eq!(count("query=unKNOWN".into()).await, 2);
    assert_eq!(count("replyMode=agent".into()).await, 0);
    assert_eq!(count("reply_mode=normal&query=chosen".into()).await, 1);
    let item = owner.get("chatbots/?query=chosen").await.body_of(200)["results"][0].clone();
    assert_eq!(item["largeLanguageModel"]["id"], other);
    assert!(item["rag"]["id"].is_string());
}
