//! Contacts, and messages to many of them.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use parlance_testkit::{Actor, TestApp};
use serde_json::{Value, json};

use crate::world::UNKNOWN;

/// The inbox of the first chatbot's API keys.
async fn api_inbox(app: &TestApp, owner: &Actor) -> Value {
    let contact = owner.get(&format!("chatbots/{}/", app.chatbot())).await.body_of(200);
    let path = format!("web-chats/{}/setup-contact-credentials/", contact["apiWebChatId"].as_str().unwrap());
    let known = owner.post(&path, &json!({"sourceId": "first"})).await.body_of(200);
    owner.delete(&format!("contacts/{}/", known["id"].as_str().unwrap())).await.expect(204);
    known["inbox"].clone()
}

#[tokio::test]
async fn contacts_are_written_in_three_forms_and_read_in_two_spellings() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let inbox = api_inbox(&app, &owner).await;
    let metadata = json!({"knowledge_bases": [], "label_relations": {"operator": "AND", "conditions": []}});
    for (path, body) in [
        (
            "contacts/",
            json!({"name": "陳小姐", "inboxes": [inbox], "sourceId": "a", "queryMetadata": metadata,
            "phoneNumber": "+886 912", "email": "a@example.tw", "avatar": "https://pictures.example/a.png"}),
        ),
        (
            "contacts",
            json!({"name": "陳小姐", "inbox": inbox, "source_id": "b", "query_metadata": metadata,
            "phone_number": "+886 912", "email": "a@example.tw", "avatar": "https://pictures.example/a.png"}),
        ),
        (
            "contacts/",
            json!({"name": "陳小姐", "inbox": inbox["id"], "source_id": "c", "query_metadata": metadata,
            "phone_number": "+886 912", "email": "a@example.tw", "avatar": "https://pictures.example/a.png"}),
        ),
    ] {
        let made = owner.post(path, &body).await.body_of(201);
        assert_eq!((&made["inboxes"], &made["inbox"]), (&json!([inbox]), &inbox));
        assert_eq!((&made["queryMetadata"], &made["mcpCredentials"]), (&metadata, &json!([])));
        for (camel, snake) in [
            ("phoneNumber", "phone_number"),
            ("sourceId", "source_id"),
            ("queryMetadata", "query_metadata"),
            ("mcpCredentials", "mcp_credentials"),
            ("createdAt", "created_at"),
            ("updatedAt", "updated_at"),
        ] {
            assert!(!made[camel].is_null(), "{camel}");
            assert_eq!(made[camel], made[snake]);
        }
        let path = format!("contacts/{}/", made["id"].as_str().unwrap());
        assert_eq!(owner.get(&path).await.body_of(200), made);
        let changed = owner.put(&path, &json!({"email": null, "name": "Ms Chen", "inbox": null})).await.body_of(200);
        assert_eq!((&changed["email"], &changed["phone_number"]), (&Value::Null, &json!("+886 912")));
        assert_eq!((&changed["name"], &changed["inboxes"]), (&json!("Ms Chen"), &json!([inbox])));
        let moved = owner.patch(&path, &json!({"inboxes": [], "queryMetadata": null})).await.body_of(200);
        assert_eq!((&moved["inboxes"], &moved["inbox"]), (&json!([]), &Value::Null));
        assert_eq!(moved["query_metadata"], Value::Null);
    }
    for (body, field) in [
        (json!({}), "name"),
        (json!({"name": " "}), "name"),
        (json!({"name": "x".repeat(256)}), "name"),
        (json!({"name": "x", "email": "nobody"}), "email"),
        (json!({"name": "x", "avatar": "javascript:alert(1)"}), "avatar"),
        (json!({"name": "x", "sourceId": "x".repeat(256)}), "sourceId"),
        (json!({"name": "x", "queryMetadata": [1]}), "queryMetadata"),
        (json!({"name": "x", "inboxes": [UNKNOWN]}), "inboxes"),
        (json!({"name": "x", "inbox": "x"}), "inbox"),
    ] {
        let refused = owner.post("contacts/", &body).await.body_of(400);
        assert_eq!(refused.as_object().unwrap().keys().collect::<Vec<_>>(), [field], "{refused}");
    }
    assert_eq!(owner.get("contacts/").await.body_of(200)["count"], 3);
}

#[tokio::test]
async fn a_source_id_is_one_contact_of_an_inbox() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let inbox = api_inbox(&app, &owner).await;
    let body = json!({"name": "A", "inbox": inbox, "sourceId": "crm-1"});
    // Of many at once one is made, and the others are told why.
    let answers = join_all((0..12).map(|_| owner.post("contacts/", &body))).await;
    let made: Vec<Value> =
        answers.iter().filter(|answer| answer.status == 201).map(parlance_testkit::Answer::json).collect();
    assert_eq!(made.len(), 1);
    for refused in answers.into_iter().filter(|answer| answer.status != 201) {
        let said = refused.body_of(400);
        assert_eq!(said, json!({"sourceId": ["Another contact of the inbox has this source id."]}));
    }
    let first = format!("contacts/{}/", made[0]["id"].as_str().unwrap());
    let second = owner.make("contacts/", &json!({"name": "B", "inbox": inbox, "sourceId": "crm-2"})).await;
    let second = format!("contacts/{second}/");
    assert!(owner.patch(&second, &json!({"sourceId": "crm-1"})).await.body_of(400)["sourceId"].is_array());
    assert_eq!(owner.get(&second).await.body_of(200)["sourceId"], "crm-2");
    // Elsewhere the same source id is somebody else.
    owner.post("contacts/", &json!({"name": "C", "sourceId": "crm-1"})).await.expect(201);

    // A question by source id finds the contact; deleted, they are free for another one.
    let ask = json!({"message": {"content": "word"}, "sourceId": "crm-1"});
    let completions = format!("chatbots/{}/completions/", app.chatbot());
    let answer = owner.post(&completions, &ask).await.body_of(200);
    owner.delete(&first).await.expect(204);
    owner.get(&first).await.expect(404);
    owner.delete(&first).await.expect(404);
    let kept = owner.get(&format!("conversations/{}/", answer["conversationId"].as_str().unwrap())).await.body_of(200);
    assert_eq!(kept["contact"]["name"], "A", "the conversation stays readable");
    owner.post("contacts/", &body).await.expect(201);
}

#[tokio::test]
async fn contacts_are_listed_by_page_and_by_offset_searched_and_narrowed() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let inbox = api_inbox(&app, &owner).await;
    for number in 0..5 {
        let body = json!({"name": format!("Guest {number}"), "inbox": inbox, "email": format!("G{number}@Example.tw")});
        owner.make("contacts/", &body).await;
    }
    owner.make("contacts/", &json!({"name": "陳雲", "sourceId": "CRM_77", "phoneNumber": "02-2345"})).await;
    let names =
        |page: &Value| page["results"].as_array().unwrap().iter().map(|item| item["name"].clone()).collect::<Vec<_>>();
    let get = async |path: &str| owner.get(path).await.body_of(200);

    let first = get("/api/contacts?limit=2&search=guest").await;
    assert_eq!((&first["count"], names(&first)), (&json!(5), vec![json!("Guest 4"), json!("Guest 3")]));
    assert_eq!(first["previous"], Value::Null);
    let next = first["next"].as_str().unwrap();
    assert!(next.contains("/api/contacts?search=guest&limit=2&offset=2"), "{next}");
    let second = get(next).await;
    assert_eq!(names(&second), [json!("Guest 2"), json!("Guest 1")]);
    let third = get(second["next"].as_str().unwrap()).await;
    assert_eq!((names(&third), &third["next"]), (vec![json!("Guest 0")], &Value::Null));
    assert_eq!(names(&get(third["previous"].as_str().unwrap()).await), names(&second));
    let odd = get("contacts/?offset=1&limit=2&page=9").await;
    assert_eq!(names(&get(odd["previous"].as_str().unwrap()).await)[0], "陳雲");
    assert_eq!(names(&get("contacts/?offset=99").await), Vec::<Value>::new());
    assert_eq!(names(&get("contacts/?offset=99999999999999999999999&limit=x").await), Vec::<Value>::new());
    let page = get("contacts/?page=2&page_size=4").await;
    assert_eq!((names(&page), &page["next"]), (vec![json!("Guest 1"), json!("Guest 0")], &Value::Null));
    assert!(page["previous"].as_str().unwrap().contains("page=1"));
    owner.get("contacts/?page=3&pageSize=4").await.expect(404);

    for (query, count) in [
        ("query=GUEST", 5),
        ("keyword=g3@example", 1),
        ("search=陈云", 1),
        ("search=crm_7", 1),
        ("search=02-23", 1),
        ("search=%25", 0),
        ("search=_", 1),
        ("query=&search=", 6),
    ] {
        assert_eq!(get(&format!("contacts/?{query}")).await["count"], count, "{query}");
    }
    let here = inbox["id"].as_str().unwrap();
    for (query, count) in [
        (format!("inbox={here}"), 5),
        (format!("inboxes={UNKNOWN},{here}"), 5),
        (format!("inboxes={UNKNOWN}&inboxes={here}"), 5),
        (format!("inboxes={here}&search=guest%204"), 1),
        ("inbox=x".to_owned(), 0),
        ("inbox=".to_owned(), 6),
    ] {
        assert_eq!(get(&format!("contacts/?{query}")).await["count"], count, "{query}");
    }
}

#[tokio::test]
async fn a_broadcast_reaches_the_latest_conversation_of_each_contact() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let inbox = api_inbox(&app, &owner).await["id"].clone();
    let completions = format!("chatbots/{}/completions/", app.chatbot());
    let mut contacts = Vec::new();
    let mut latest = Vec::new();
    for name in ["a", "b"] {
        contacts.push(owner.make("contacts/", &json!({"name": name, "inbox": inbox, "sourceId": name})).await);
        let ask = json!({"message": {"content": "word"}, "sourceId": name});
        for turn in 0..2 {
            let answer = owner.post(&completions, &ask).await.body_of(200);
            if turn == 1 {
                latest.push(answer["conversationId"].clone());
            }
        }
    }
    let silent = owner.make("contacts/", &json!({"name": "silent", "inbox": inbox})).await;
    let other = app.other_organisation().await;
    let foreign = other.make("contacts/", &json!({"name": "foreign"})).await;

    let broadcast = async |body: Value| owner.post("/api/v1/contacts/broadcast-message", &body).await.body_of(200);
    let ids = json!([contacts[0], contacts[1], contacts[0], silent, foreign, "x"]);
    let sent = broadcast(json!({"message": "We are open.", "contact_ids": ids})).await;
    let members = ["error_count", "errors", "results", "success_count", "total_contacts"];
    assert_eq!(sent.as_object().unwrap().keys().map(String::as_str).collect::<BTreeSet<_>>(), members.into());
    assert_eq!(
        (&sent["total_contacts"], &sent["success_count"], &sent["error_count"]),
        (&json!(5), &json!(2), &json!(3))
    );
    for (number, result) in sent["results"].as_array().unwrap().iter().enumerate() {
        assert_eq!(result["contact_id"], contacts[number]);
        assert_eq!((&result["conversation_id"], &result["status"]), (&latest[number], &json!("success")));
        let (message, record) = crate::stored::stored(&app, &result["message_id"]).await;
        assert_eq!((message.content.as_str(), message.kind.as_str()), ("We are open.", "outgoing"));
        assert!(message.user_id.is_some() && message.contact_id.is_none() && record.is_none());
    }
    let none = "No conversation was found for this contact.";
    let unknown = "No contact has this id.";
    assert_eq!(
        sent["errors"],
        json!([{"contact_id": silent, "error": none}, {"contact_id": foreign, "error": unknown},
               {"contact_id": "x", "error": unknown}])
    );

    let everybody = broadcast(json!({"message": "m", "inbox_id": inbox})).await;
    assert_eq!((&everybody["total_contacts"], &everybody["success_count"]), (&json!(3), &json!(2)));
    let some = json!({"message": "m", "inboxId": inbox, "excludeContactIds": [contacts[0], silent]});
    let some = broadcast(some).await;
    assert_eq!((&some["total_contacts"], &some["results"][0]["contact_id"]), (&json!(1), &json!(contacts[1])));

    for (body, field) in [
        (json!({"message": "m"}), "nonFieldErrors"),
        (json!({"message": " ", "inbox_id": inbox}), "message"),
        (json!({"message": "x".repeat(32_001), "inbox_id": inbox}), "message"),
        (json!({"inbox_id": inbox}), "message"),
        (json!({"message": "m", "inbox_id": UNKNOWN}), "inboxId"),
        (json!({"message": "m", "contact_ids": []}), "contactIds"),
    ] {
        let refused = owner.post("contacts/broadcast-message/", &body).await.body_of(400);
        assert_eq!(refused.as_object().unwrap().keys().collect::<Vec<_>>(), [field], "{refused}");
    }
    let small = TestApp::builder().settings(|settings| settings.max_broadcast_contacts = 1).start().await;
    let inbox = api_inbox(&small, &small.owner()).await["id"].clone();
    for _ in 0..2 {
        small.owner().make("contacts/", &json!({"name": "x", "inbox": inbox})).await;
    }
    for (body, field) in [
        (json!({"message": "m", "contact_ids": [UNKNOWN, "x"]}), "contactIds"),
        (json!({"message": "m", "inbox_id": inbox}), "inboxId"),
    ] {
        let refused = small.owner().post("contacts/broadcast-message", &body).await.body_of(400);
        assert_eq!(refused, json!({field: ["At most 1 contacts get one message."]}));
    }
}

#[tokio::test]
async fn who_asks_in_another_inbox_is_of_that_inbox_too() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let page = json!({"theme": {}, "darkTheme": {}, "chatbot": app.chatbot(), "name": "Page"});
    let page = owner.post("web-chats/", &page).await.body_of(201);
    let api = api_inbox(&app, &owner).await;
    let home = &page["inbox"];
    let contact = owner.make("contacts/", &json!({"name": "A", "inbox": home["id"], "sourceId": "crm-1"})).await;
    let twin = owner.make("contacts/", &json!({"name": "B", "inbox": api["id"], "sourceId": "crm-2"})).await;
    let namesake = owner.make("contacts/", &json!({"name": "C", "inbox": home["id"], "sourceId": "crm-2"})).await;
    let of_api = async || {
        let list = owner.get(&format!("contacts/?inbox={}", api["id"].as_str().unwrap())).await.body_of(200);
        let ids = list["results"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned());
        ids.collect::<BTreeSet<String>>()
    };
    let names = async |contact: &str| {
        let shown = owner.get(&format!("contacts/{contact}/")).await.body_of(200);
        let inboxes = shown["inboxes"].as_array().unwrap().iter();
        (inboxes.map(|inbox| inbox["id"].clone()).collect::<Vec<_>>(), shown["sourceId"].clone())
    };
    assert_eq!(of_api().await, [twin.clone()].into());

    // By a completion, in whichever way they are named, and as often as they like.
    let completions = format!("chatbots/{}/completions/", app.chatbot());
    for body in [
        json!({"message": {"content": "word", "sender": contact}}),
        json!({"message": {"content": "word"}, "contactId": contact}),
    ] {
        let answer = owner.post(&completions, &body).await.body_of(200);
        let shown = owner.get(&format!("conversations/{}/", answer["conversationId"].as_str().unwrap())).await;
        assert_eq!(shown.body_of(200)["contact"]["id"], json!(contact));
    }
    assert_eq!(of_api().await, [contact.clone(), twin.clone()].into());
    assert_eq!(names(&contact).await, (vec![home["id"].clone(), api["id"].clone()], json!("crm-1")));
    let by_source = json!({"message": {"content": "word"}, "sourceId": "crm-1"});
    let answer = owner.post(&completions, &by_source).await.body_of(200);
    let shown = owner.get(&format!("conversations/{}/", answer["conversationId"].as_str().unwrap())).await;
    assert_eq!(shown.body_of(200)["contact"]["id"], json!(contact), "the same source id is the same contact");

    // By a conversation that is begun; what somebody else is called there stays theirs.
    let web_chat = owner.get(&format!("chatbots/{}/", app.chatbot())).await.body_of(200)["apiWebChatId"].clone();
    owner.make("conversations/", &json!({"webChat": web_chat, "contact": namesake})).await;
    assert_eq!(of_api().await, [contact.clone(), twin.clone(), namesake.clone()].into());
    assert_eq!(names(&namesake).await.1, "crm-2");
    let by_source = json!({"message": {"content": "word"}, "sourceId": "crm-2"});
    let answer = owner.post(&completions, &by_source).await.body_of(200);
    let shown = owner.get(&format!("conversations/{}/", answer["conversationId"].as_str().unwrap())).await;
    assert_eq!(shown.body_of(200)["contact"]["id"], json!(twin));

    // A refused question changes nothing.
    let refused = json!({"message": {"content": " "}, "contactId": namesake});
    owner.post(&completions, &refused).await.expect(400).json();
    owner.delete(&format!("contacts/{contact}/")).await.expect(204);
    let gone = json!({"message": {"content": "word"}, "contactId": contact});
    owner.post(&completions, &gone).await.expect(400).json();
}

#[tokio::test]
async fn the_conversations_of_a_contact_are_listed_and_the_latest_is_found() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let inbox = api_inbox(&app, &owner).await;
    let contact = owner.make("contacts/", &json!({"name": "Guest", "inbox": inbox, "sourceId": "g"})).await;
    let conversations = format!("contacts/{contact}/conversations");
    assert_eq!(owner.get(&conversations).await.body_of(200), json!({"count": 0, "results": []}));
    owner.get(&format!("{conversations}/latest")).await.expect(404);
    let completions = format!("chatbots/{}/completions/", app.chatbot());
    let mut begun = Vec::new();
    for question in ["first harbour", "second garden"] {
        let ask = json!({"message": {"content": question}, "sourceId": "g"});
        begun.push(owner.post(&completions, &ask).await.body_of(200)["conversationId"].clone());
    }
    owner.ask(&app.chatbot(), "somebody else").await;
    let listed = owner.get(&conversations).await.body_of(200);
    assert_eq!((&listed["count"], &listed["results"][0]["id"]), (&json!(2), &begun[1]));
    assert_eq!(
        (&listed["results"][0]["contact"]["id"], &listed["results"][0]["inbox"]["id"]),
        (&json!(contact), &inbox["id"])
    );
    assert_eq!(owner.get(&format!("{conversations}/latest/")).await.body_of(200)["id"], begun[1]);
    let here = inbox["id"].as_str().unwrap();
    for (query, found) in [
        ("keyword=HARBOUR".to_owned(), vec![&begun[0]]),
        ("keyword=qqxyz".to_owned(), vec![]),
        (format!("inboxes={here},{UNKNOWN}"), vec![&begun[1], &begun[0]]),
        (format!("inboxes={UNKNOWN}"), vec![]),
        (format!("inboxes={here}&inboxes={here}&keyword=garden"), vec![&begun[1]]),
    ] {
        let listed = owner.get(&format!("{conversations}?{query}")).await.body_of(200);
        let ids: Vec<&Value> = listed["results"].as_array().unwrap().iter().map(|shown| &shown["id"]).collect();
        assert_eq!(ids, found, "{query}");
    }
    owner.delete(&format!("contacts/{contact}/")).await.expect(204);
    owner.get(&conversations).await.expect(404);
    owner.get(&format!("{conversations}/latest")).await.expect(404);
}
