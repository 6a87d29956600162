//! Messages: sent, listed, judged.

use parlance_testkit::{Event, TestApp};
use serde_json::{Value, json};

use crate::world::UNKNOWN;

async fn conversation(app: &TestApp) -> String {
    let owner = app.owner();
    let chatbot = owner.make("chatbots/", &json!({"name": "Bot"})).await;
    let shown = owner.get(&format!("chatbots/{chatbot}/")).await.body_of(200);
    owner.make("conversations/", &json!({"webChat": shown["apiWebChatId"]})).await
}

#[tokio::test]
async fn a_message_comes_back_as_it_was_sent() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let conversation = conversation(&app).await;
    let payload = json!({"items": [{"type": "text", "start_timestamp": null}], "b": 1, "a": 2});
    let metadata = json!({"knowledge_bases": [{"knowledge_base_id": UNKNOWN, "has_user_selected_all": "True"}]});
    let body = json!({
        "conversation": conversation,
        "content": "這是一條測試訊息",
        "content_payload": payload,
        "queryMetadata": metadata,
        "canvas": {"name": "diagram", "canvasType": "whiteboard", "title": "圖", "content": "graph TD"},
        "sender": {"id": 2.99e38, "name": "ignored"},
        "feedback": "like",
        "citations": [],
        "createdAt": "1748314926000",
    });
    let sent = owner.post("messages/", &body).await.body_of(201);
    assert_eq!((&sent["type"], &sent["content"]), (&json!("incoming"), &json!("這是一條測試訊息")));
    assert_eq!(sent["contentPayload"].to_string(), payload.to_string());
    assert_eq!(sent["queryMetadata"].to_string(), metadata.to_string());
    assert_eq!((&sent["canvas"]["canvasType"], &sent["canvas"]["name"]), (&json!("whiteboard"), &json!("diagram")));
    assert!(sent["canvas"]["id"].is_string() && sent["canvas"]["createdAt"].as_str().unwrap().len() == 13);
    assert_eq!((&sent["feedback"], &sent["attachments"], &sent["citations"]), (&Value::Null, &json!([]), &json!([])));
    assert_eq!(sent["sender"]["name"], "訪客");
    assert!(sent["sender"]["id"].as_u64().is_some_and(|id| id > 0 && id < 1 << 53));
    let path = format!("messages/{}/", sent["id"].as_str().unwrap());
    assert_eq!(owner.get(&path).await.body_of(200), sent);
    assert_eq!(owner.get(&format!("{path}?conversation={conversation}")).await.body_of(200), sent);
    for wrong in [UNKNOWN, "x"] {
        owner.get(&format!("{path}?conversation={wrong}")).await.expect(404).json();
    }
    let shown = owner.get(&format!("conversations/{conversation}/")).await.body_of(200);
    assert_eq!(shown["lastMessage"]["queryMetadata"], metadata);
    let again = owner.post("messages/", &json!({"conversation": conversation, "content": "2"})).await.body_of(201);
    assert_eq!(again["sender"], sent["sender"]);
    let reply = json!({"conversation": conversation, "content": "reply", "type": "outgoing"});
    let reply = owner.post("messages/", &reply).await.body_of(201);
    assert_ne!(reply["sender"], sent["sender"]);
}

#[tokio::test]
async fn wrong_messages_are_refused_and_leave_nothing() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let conversation = conversation(&app).await;
    let other = app.other_organisation().await;
    for (change, field) in [
        (json!({"conversation": UNKNOWN}), "conversation"),
        (json!({"conversation": "x"}), "conversation"),
        (json!({"content": " "}), "content"),
        (json!({"content": "x".repeat(32_001)}), "content"),
        (json!({"type": "system"}), "type"),
        (json!({"queryMetadata": "all"}), "queryMetadata"),
        (json!({"queryMetadata": []}), "queryMetadata"),
        (json!({"contentPayload": "x"}), "contentPayload"),
        (json!({"canvas": "x"}), "canvas"),
        (json!({"canvas": {"name": 1}}), "canvas"),
        (json!({"attachments": [{"id": UNKNOWN}]}), "attachments"),
        (json!({"attachments": [{"filename": "a.txt"}]}), "attachments"),
        (json!({"attachments": [{"file": "https://example.com/a.txt", "filename": "a"}]}), "attachments"),
        (json!({"attachments": [{"file": "media/chat/attachment/none.txt", "filename": "a"}]}), "attachments"),
    ] {
        let mut body = json!({"conversation": conversation, "content": "hello"});
        for (key, value) in change.as_object().unwrap() {
            body[key] = value.clone();
        }
        let answer = owner.post("messages/", &body).await.body_of(400);
        assert!(!answer[field].is_null(), "{body} {answer}");
    }
    let foreign = json!({"conversation": conversation, "content": "hello"});
    other.post("messages/", &foreign).await.expect(400).json();
    let list = owner.get(&format!("messages/?conversation={conversation}")).await.body_of(200);
    assert_eq!((&list["count"], &list["results"]), (&json!(0), &json!([])));
    assert!(owner.get("messages/").await.body_of(400)["conversation"].is_array());
}

#[tokio::test]
async fn attachments_come_in_every_form() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let conversation = conversation(&app).await;
    let known = owner.upload("attachment", "known.png", b"png").await;
    let known = owner.post("attachments/", &json!({"file": known})).await.body_of(201);
    let own = owner.upload("attachment", "own.txt", b"text").await;
    let own = owner.post(&format!("conversations/{conversation}/attachments/"), &json!({"file": own})).await;
    let own = own.body_of(201);
    let key = owner.upload("attachment", "new.txt", b"new").await;
    let body = json!({
        "conversation": conversation,
        "attachments": [
            known,
            {"id": own["id"]},
            {"file": key, "filename": "名稱.txt", "type": "file", "conversation": conversation},
        ],
    });
    let sent = owner.post("messages/", &body).await.body_of(201);
    let attachments = sent["attachments"].as_array().unwrap();
    let names: Vec<_> = attachments.iter().map(|one| one["filename"].as_str().unwrap()).collect();
    assert_eq!(names, ["known.png", "own.txt", "名稱.txt"]);
    assert_eq!(attachments.iter().map(|one| one["type"].clone()).collect::<Vec<_>>(), ["image", "other", "other"]);
    assert_eq!((&attachments[0]["id"], &attachments[1]["id"]), (&known["id"], &own["id"]));
    for one in attachments {
        assert_eq!(one["conversation"], conversation);
        app.nobody().get(one["file"].as_str().unwrap()).await.expect(200);
    }
    let made = owner.get(&format!("attachments/{}/", attachments[2]["id"].as_str().unwrap())).await.body_of(200);
    assert_eq!(made["conversation"], conversation);
}

#[tokio::test]
async fn a_list_is_counted_and_walked_while_it_grows() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let conversation = conversation(&app).await;
    let say = async |content: &str| {
        let body = json!({"conversation": conversation, "content": content});
        owner.post("messages/", &body).await.body_of(201)
    };
    for number in 0..5 {
        say(&number.to_string()).await;
    }
    let texts = |page: &Value| -> Vec<String> {
        page["results"].as_array().unwrap().iter().map(|one| one["content"].as_str().unwrap().to_owned()).collect()
    };
    let first = owner.get(&format!("messages/?conversation={conversation}&pageSize=2")).await.body_of(200);
    assert_eq!((first["count"].clone(), texts(&first)), (json!(5), vec!["4".into(), "3".into()]));
    say("new").await;
    let second = owner.get(first["next"].as_str().unwrap()).await.body_of(200);
    assert_eq!((second["count"].clone(), texts(&second)), (json!(6), vec!["2".into(), "1".into()]));
    let third = owner.get(second["next"].as_str().unwrap()).await.body_of(200);
    assert_eq!((texts(&third), &third["next"]), (vec!["0".into()], &Value::Null));
    let back = owner.get(second["previous"].as_str().unwrap()).await.body_of(200);
    assert_eq!(texts(&back), ["4", "3"]);
    let newest = owner.get(back["previous"].as_str().unwrap()).await.body_of(200);
    assert_eq!((texts(&newest), &newest["previous"]), (vec!["new".into()], &Value::Null));
}

#[tokio::test]
async fn answers_are_judged() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let answer = owner.ask(&app.chatbot(), "Hello?").await;
    let id = answer["messageId"].as_str().unwrap();
    let (path, feedback) = (format!("messages/{id}/"), format!("messages/{id}/feedback/"));
    let liked = owner.put(&feedback, &json!({"type": "like"})).await.body_of(200);
    assert_eq!((&liked["feedback"]["type"], &liked["feedback"]["suggestion"]), (&json!("like"), &json!("")));
    assert_eq!(liked["feedback"]["updatedAt"].as_str().unwrap().len(), 13);
    let disliked = owner.put(&feedback, &json!({"type": "dislike", "suggestion": "更短"})).await.body_of(200);
    assert_eq!(disliked["feedback"]["suggestion"], "更短");
    assert_eq!(disliked["feedback"]["id"], liked["feedback"]["id"], "one per message");
    let shown = owner.get(&format!("conversations/{}/", answer["conversationId"].as_str().unwrap())).await.body_of(200);
    assert_eq!(shown["lastMessage"]["feedback"], disliked["feedback"]);
    owner.delete(&feedback).await.expect(204);
    assert_eq!(owner.get(&path).await.body_of(200)["feedback"], Value::Null);
    for (form, expected) in [
        (json!("like"), json!("like")),
        (json!({"type": "dislike", "suggestion": "x"}), json!("dislike")),
        (Value::Null, Value::Null),
        (json!({"type": "like"}), json!("like")),
        (json!(""), Value::Null),
    ] {
        let changed = owner.patch(&path, &json!({"feedback": form})).await.body_of(200);
        assert_eq!(changed["feedback"]["type"], expected, "{form}");
    }
    assert!(owner.put(&feedback, &json!({"type": "meh"})).await.body_of(400)["type"].is_array());
    assert!(owner.patch(&path, &json!({"feedback": 1})).await.body_of(400)["feedback"].is_array());
    let unchanged = owner.patch(&path, &json!({"content": "taken"})).await.body_of(200);
    assert_eq!(unchanged["content"], answer["content"]);
    // What a person asked is not judged.
    let list = owner.get(&format!("messages/?conversation={}", answer["conversationId"].as_str().unwrap())).await;
    let question = list.body_of(200)["results"][1].clone();
    assert_eq!(question["type"], "incoming");
    let of_question = format!("messages/{}/feedback/", question["id"].as_str().unwrap());
    owner.put(&of_question, &json!({"type": "like"})).await.expect(400).json();
}

#[tokio::test]
async fn a_person_s_reply_is_followed_to_its_end() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let conversation = conversation(&app).await;
    let reply = json!({"conversation": conversation, "content": "我來", "type": "outgoing"});
    let reply = owner.post("messages/", &reply).await.body_of(201);
    let told = owner.follow(reply["id"].as_str().unwrap(), 0).await.rest().await;
    assert_eq!(told.iter().map(Event::kind).collect::<Vec<_>>(), ["citations", "text", "done"]);
    assert_eq!((told[1].content(), &told[2].data["recordId"]), ("我來", &Value::Null));
    let nothing = json!({"inputTokens": 0, "outputTokens": 0, "cachedTokens": 0, "wordsCount": 0});
    assert_eq!(told[2].data["usage"], nothing);
    let question = owner.post("messages/", &json!({"conversation": conversation, "content": "?"})).await.body_of(201);
    owner.get(&format!("messages/{}/stream/", question["id"].as_str().unwrap())).await.expect(404).json();
}
