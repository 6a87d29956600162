//! Inboxes with their web chats, hours and narrowing.

use parlance_testkit::{Method, TestApp};
use serde_json::{Value, json};

use crate::world::UNKNOWN;

#[tokio::test]
async fn an_inbox_is_made_with_its_web_chat_changed_and_removed() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let bot = app.chatbot();
    let metadata = json!({"knowledge_bases": [{"knowledge_base_id": UNKNOWN}]});
    let body = json!({
        "name": "官網客服", "channel_type": "web", "chatbot": bot, "channel": {"name": "Widget"},
        "auto_reply_schedules": [
            {"weekday": 5, "is_enabled": false},
            {"weekday": 0, "timeSlots": [["09:00", "12:00"], ["22:00", "06:00"]]},
        ],
        "query_metadata": metadata,
    });
    let made = owner.post("inboxes/", &body).await.body_of(201);
    assert_eq!(
        (&made["name"], &made["channelType"], &made["chatbot"]),
        (&json!("官網客服"), &json!("web"), &json!(bot))
    );
    assert_eq!((&made["channel"]["name"], &made["channel"]["accessType"]), (&json!("Widget"), &json!("web")));
    assert_eq!((&made["channelTypeLabel"], &made["unreadConversationsCount"]), (&json!("網頁聊天"), &json!(0)));
    assert_eq!((&made["queryMetadata"], &made["signAuth"]), (&metadata, &Value::Null));
    let schedules = made["autoReplySchedules"].as_array().unwrap();
    assert_eq!((&schedules[0]["weekday"], &schedules[0]["weekdayName"]), (&json!(0), &json!("星期一")));
    assert_eq!(schedules[0]["timeSlots"], json!([["09:00", "12:00"], ["22:00", "06:00"]]));
    assert_eq!((&schedules[1]["isEnabled"], &schedules[1]["timeSlots"]), (&json!(false), &Value::Null));
    let path = format!("inboxes/{}/", made["id"].as_str().unwrap());
    assert_eq!(owner.get(&path).await.body_of(200), made);
    let page = format!("web-chats/{}/", made["channel"]["id"].as_str().unwrap());
    let shown = owner.get(&page).await.body_of(200);
    assert_eq!((&shown["inbox"]["id"], &shown["name"]), (&made["id"], &json!("Widget")));

    // What was read can be written back; a weekday keeps its id.
    let same = owner.put(&path, &made).await.body_of(200);
    assert_eq!(same["autoReplySchedules"], made["autoReplySchedules"]);
    let second = owner.make("chatbots/", &json!({"name": "Second"})).await;
    let sign = json!({"signSource": {"accessType": "line"}, "signParams": {"line": {"liffId": "1-a"}}});
    let change =
        json!({"chatbot": {"id": second}, "signAuth": sign, "autoReplySchedules": null, "queryMetadata": null});
    let changed = owner.patch(&path, &change).await.body_of(200);
    assert_eq!((&changed["chatbot"], &changed["name"]), (&json!(second), &json!("官網客服")));
    assert_eq!((&changed["autoReplySchedules"], &changed["queryMetadata"]), (&json!([]), &Value::Null));
    assert_eq!(changed["signAuth"]["signParams"], sign["signParams"]);
    let cleared = owner.patch(&path, &json!({"signAuth": null})).await.body_of(200);
    assert_eq!(cleared["signAuth"], Value::Null);

    for (change, field) in [
        (json!({"name": ""}), "name"),
        (json!({"channelType": "line"}), "channelType"),
        (json!({"chatbot": UNKNOWN}), "chatbot"),
        (json!({"queryMetadata": "x"}), "queryMetadata"),
        (json!({"autoReplySchedules": [{"weekday": 7}]}), "autoReplySchedules"),
        (json!({"autoReplySchedules": [{"weekday": 1}, {"weekday": 1}]}), "autoReplySchedules"),
        (json!({"autoReplySchedules": [{"weekday": 1, "timeSlots": [["9", "18:00"]]}]}), "autoReplySchedules"),
        (json!({"autoReplySchedules": [{"weekday": 1, "timeSlots": [["09:00"]]}]}), "autoReplySchedules"),
    ] {
        let refused = owner.patch(&path, &change).await.body_of(400);
        assert_eq!(refused.as_object().unwrap().keys().collect::<Vec<_>>(), [field], "{refused}");
    }
    let slots = json!({"autoReplySchedules": [{"weekday": 1, "timeSlots": [["09:00", "09:00"]]}]});
    let said = "Start and end are the same; leave out the slots for a whole day.";
    let expected = json!({"autoReplySchedules": [{"timeSlots": [[said]]}]});
    assert_eq!(owner.patch(&path, &slots).await.body_of(400), expected);

    owner.delete(&path).await.expect(204);
    for (method, path) in [(Method::GET, &path), (Method::DELETE, &path), (Method::GET, &page)] {
        owner.call(method, path, None).await.expect(404);
    }
    assert_eq!(owner.get(&format!("inboxes/?chatbot={second}&query=官網")).await.body_of(200)["count"], 0);
}

#[tokio::test]
async fn other_channels_come_later_and_the_hidden_inbox_stays() {
    let app = TestApp::start().await;
    let owner = app.owner();
    for channel in ["line", "telegram", "messenger"] {
        let body = json!({"name": "x", "channelType": channel});
        let refused = owner.post("inboxes/", &body).await.body_of(400);
        let said = format!("Channels of type {channel} are not supported yet; use web.");
        assert_eq!(refused, json!({"channelType": [said]}));
    }
    for (body, field) in [
        (json!({"name": "x"}), "channelType"),
        (json!({"channelType": "web"}), "name"),
        (json!({"name": "x", "channelType": "fax"}), "channelType"),
        (json!({"name": "x", "channelType": "web", "chatbot": UNKNOWN}), "chatbot"),
        (json!({"name": "x", "channelType": "web", "chatbot": "x"}), "chatbot"),
        (json!({"name": "x", "channelType": "web", "autoReplySchedules": [{"weekday": 9}]}), "autoReplySchedules"),
    ] {
        let refused = owner.post("inboxes/", &body).await.body_of(400);
        assert_eq!(refused.as_object().unwrap().keys().collect::<Vec<_>>(), [field], "{refused}");
    }
    let listed = owner.get("inboxes/").await.body_of(200);
    assert_eq!(listed["count"], 2, "those of the first start and no more: {listed}");
    let hidden = listed["results"].as_array().unwrap().iter().find(|inbox| inbox["channel"]["accessType"] == "api");
    let hidden = hidden.unwrap();
    let path = format!("inboxes/{}/", hidden["id"].as_str().unwrap());
    assert_eq!(owner.delete(&path).await.body_of(409)["code"], "conflict");
    let renamed = owner.patch(&path, &json!({"name": "API"})).await.body_of(200);
    assert_eq!(renamed["name"], "API");

    // Questions of API keys arrive there and count until somebody reads them.
    owner.ask(&app.chatbot(), "word").await;
    assert_eq!(owner.get(&path).await.body_of(200)["unreadConversationsCount"], 1);
}

#[tokio::test]
async fn inboxes_are_listed_in_the_order_that_is_asked_for() {
    let app = TestApp::start().await;
    let owner = app.owner();
    for name in ["Zürich", "Aarau"] {
        owner.make("inboxes/", &json!({"name": name, "channelType": "web"})).await;
    }
    let names = async |query: &str| {
        let listed = owner.get(&format!("inboxes/?{query}")).await.body_of(200);
        let names = listed["results"].as_array().unwrap().iter().map(|inbox| inbox["name"].clone());
        names.filter(|name| name == "Zürich" || name == "Aarau").collect::<Vec<_>>()
    };
    assert_eq!(names("").await, ["Aarau", "Zürich"]);
    assert_eq!(names("ordering=-createdAt").await, ["Aarau", "Zürich"]);
    assert_eq!(names("ordering=created_at").await, ["Zürich", "Aarau"]);
    assert_eq!(names("ordering=name").await, ["Aarau", "Zürich"]);
    assert_eq!(names("ordering=-name").await, ["Zürich", "Aarau"]);
    assert_eq!(names("ordering=nonsense").await, ["Aarau", "Zürich"]);
    assert_eq!(names("query=ZÜRICH").await, ["Zürich"]);
    assert_eq!(names("channelType=line").await, Vec::<Value>::new());
    assert_eq!(names(&format!("chatbot={UNKNOWN}")).await, Vec::<Value>::new());
    assert_eq!(names("chatbot=x").await, Vec::<Value>::new());
    let page = owner.get("inboxes/?page_size=1").await.body_of(200);
    assert_eq!((&page["count"], page["results"].as_array().unwrap().len()), (&json!(4), 1));
}
