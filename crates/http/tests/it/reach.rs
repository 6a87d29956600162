//! Groups with chatbots limit which of them a member reaches, with all that belongs to these.

use std::time::Duration;

use parlance_testkit::{Actor, Method, Script, ScriptedChat, Step, TestApp};
use serde_json::{Value, json};

use crate::authorization::{filled, sample};
use crate::openapi::{document, operations};
use crate::world::{World, world};

/// What groups limit, by the first word of its path.
const LIMITED: [&str; 6] = ["chatbots", "conversations", "inboxes", "knowledge-bases", "messages", "web-chats"];
/// What every member reaches as far as their permissions go.
const SHARED: [&str; 8] =
    ["api-keys", "attachments", "contacts", "model-providers", "organizations", "parsers", "tools", "users"];
/// Shown to anybody in the world, or begun by them.
const PUBLIC: [(&str, &str); 1] = [("POST", "/api/v1/web-chats/{id}/sessions/")];

/// Two worlds in one organisation, and somebody whose group names the second one's chatbot alone.
async fn worlds(app: &TestApp) -> (World, World, Actor) {
    let owner = app.owner();
    let beyond = world(app, &owner, "heron").await;
    let within = world(app, &owner, "curlew").await;
    let member = app.member(&within.member).await;
    (beyond, within, member)
}

async fn call(actor: &Actor, method: &str, path: &str, body: Option<&Value>) -> parlance_testkit::Answer {
    actor.call(Method::from_bytes(method.as_bytes()).unwrap(), path, body).await
}

#[tokio::test]
async fn what_belongs_to_other_chatbots_does_not_exist() {
    let app = TestApp::start().await;
    let (beyond, within, member) = worlds(&app).await;
    let before = crate::world::told(&app.owner(), &beyond).await;
    let (mut refused, mut listed) = (0, 0);
    for (method, path, _) in operations(&document()) {
        let noun = path.strip_prefix("/api/v1/").unwrap().split('/').next().unwrap();
        // The body is good and within reach; only the path is not.
        let (scope, body) = sample(&method, &path, &within);
        if path.contains('{') {
            if SHARED.contains(&noun) || PUBLIC.contains(&(method.as_str(), path.as_str())) {
                continue;
            }
            assert!(LIMITED.contains(&noun), "{method} {path}: do groups limit this? Say so here");
            assert_ne!(scope, "organisation:write");
            let foreign = call(&member, &method, &filled(&path, Some(&beyond)), body.as_ref()).await;
            let nothing = call(&member, &method, &filled(&path, None), body.as_ref()).await;
            assert_eq!(foreign.status.as_u16(), 404, "{} {}", foreign.asked, foreign.text());
            assert_eq!(foreign.text(), nothing.text(), "{method} {path}");
            refused += 1;
        } else if method == "GET" && LIMITED.contains(&noun) && path != "/api/v1/messages/" {
            let list = call(&member, &method, &path, None).await.expect(200).text();
            assert!(!list.contains("heron"), "{path} {list}");
            assert!(list.contains("curlew") || noun == "conversations", "{path} {list}");
            listed += 1;
        }
    }
    assert!(refused > 50 && listed >= 5, "{refused} {listed}");
    assert_eq!(crate::world::told(&app.owner(), &beyond).await, before, "and nothing was changed");
    // What is within reach is there, and shown as it is to everybody.
    for path in [
        format!("chatbots/{}/", within.chatbot),
        format!("chatbots/{}/webhook-records/", within.chatbot),
        format!("knowledge-bases/{}/", within.base),
        format!("knowledge-bases/{}/files/{}/", within.base, within.file),
        format!("knowledge-bases/{}/labels/{}/", within.base, within.label),
        format!("knowledge-bases/{}/faqs/{}/", within.base, within.faq),
        format!("chatbot-text-nodes/?chatbotFile={}", within.file),
        format!("conversations/{}/", within.conversation),
        format!("messages/?conversation={}", within.conversation),
        format!("messages/{}/", within.message),
        format!("inboxes/{}/", within.inbox),
        format!("web-chats/{}/", within.web_chat),
    ] {
        member.get(&path).await.expect(200).json();
    }
    assert_eq!(member.get("conversations/").await.body_of(200)["results"].as_array().unwrap().len(), 1);
    assert!(!member.follow(&within.message, 0).await.rest().await.is_empty());
    let answer = member.ask(&within.chatbot, "What is the word of the day?").await;
    assert!(answer["content"].as_str().unwrap().contains("curlew"), "{answer}");
}

#[tokio::test]
async fn ids_of_what_is_beyond_are_unknown_in_bodies_and_filters() {
    let app = TestApp::start().await;
    let (beyond, within, member) = worlds(&app).await;
    let page = |chatbot: &str| json!({"chatbot": chatbot, "theme": {}, "darkTheme": {}});
    for (method, path, body, field) in [
        ("POST", "web-chats/".to_owned(), page(&beyond.chatbot), "chatbot"),
        ("PATCH", format!("web-chats/{}/", within.web_chat), page(&beyond.chatbot), "chatbot"),
        (
            "POST",
            "inboxes/".to_owned(),
            json!({"name": "x", "channelType": "web", "chatbot": beyond.chatbot}),
            "chatbot",
        ),
        ("PATCH", format!("inboxes/{}/", within.inbox), json!({"chatbot": beyond.chatbot}), "chatbot"),
        ("POST", "faqs/".to_owned(), json!({"chatbot": beyond.chatbot, "question": "q", "answer": "a"}), "chatbot"),
        (
            "PATCH",
            format!("chatbots/{}/", within.chatbot),
            json!({"knowledgeBases": [within.base, beyond.base]}),
            "knowledgeBases",
        ),
        ("POST", "knowledge-bases/".to_owned(), json!({"name": "x", "chatbots": [beyond.chatbot]}), "chatbots"),
        ("PATCH", format!("knowledge-bases/{}/", within.base), json!({"chatbots": [beyond.chatbot]}), "chatbots"),
        ("POST", "conversations/".to_owned(), json!({"webChat": beyond.web_chat}), "webChat"),
        ("POST", "messages/".to_owned(), json!({"conversation": beyond.conversation, "content": "x"}), "conversation"),
        (
            "POST",
            "messages/outgoing/".to_owned(),
            json!({"conversation": beyond.conversation, "content": "x"}),
            "conversation",
        ),
        (
            "POST",
            format!("chatbots/{}/completions/", within.chatbot),
            json!({"conversation": beyond.conversation, "message": {"content": "x"}}),
            "conversation",
        ),
        ("POST", "contacts/".to_owned(), json!({"name": "x", "inboxes": [beyond.inbox]}), "inboxes"),
        ("GET", format!("messages/?conversation={}", beyond.conversation), Value::Null, "conversation"),
        ("GET", format!("conversations/?inbox={}", beyond.inbox), Value::Null, "inbox"),
        ("GET", format!("chatbot-text-nodes/?chatbotFile={}", beyond.file), Value::Null, "chatbotFile"),
    ] {
        let body = (!body.is_null()).then_some(&body);
        let answer = call(&member, method, &path, body).await;
        assert_eq!(answer.status.as_u16(), 400, "{method} {path} {}", answer.text());
        assert!(!answer.json()[field].is_null(), "{method} {path} {}", answer.text());
    }
    // Contacts are everybody's, what was written with them is not.
    for (path, none) in [
        (format!("contacts/{}/conversations/", beyond.contact), "results"),
        (format!("inboxes/?chatbot={}", beyond.chatbot), "results"),
    ] {
        assert_eq!(member.get(&path).await.body_of(200)[none], json!([]), "{path}");
    }
    assert_eq!(member.get(&format!("web-chats/?chatbot={}", beyond.chatbot)).await.body_of(200), json!([]));
    member.get(&format!("contacts/{}/conversations/latest/", beyond.contact)).await.expect(404).json();
    let begun = json!({"webChat": beyond.web_chat, "contact": beyond.contact});
    let conversation = app.owner().make("conversations/", &begun).await;
    let told = json!({"message": "Hello", "contact_ids": [beyond.contact]});
    member.post("contacts/broadcast-message", &told).await.expect(200).json();
    let messages = app.owner().get(&format!("messages/?conversation={conversation}")).await.body_of(200);
    assert_eq!(messages["results"], json!([]), "nothing is sent into it");
    // Whose knowledge is searched is not widened by naming it.
    let scope = json!({"knowledge_bases": [{"knowledge_base_id": beyond.base, "has_user_selected_all": true}]});
    let found = json!({"query": "word of the day", "queryMetadata": scope});
    let path = format!("chatbots/{}/search/", within.chatbot);
    assert_eq!(member.post(&path, &found).await.body_of(200), json!([]));
}

/// The organisation's groups, with the owner's eyes.
async fn groups(app: &TestApp) -> String {
    let list = app.owner().get("organizations/").await.body_of(200);
    format!("organizations/{}/groups/", list["results"][0]["id"].as_str().unwrap())
}

async fn user(app: &TestApp, role: &str) -> (String, Actor) {
    let members = groups(app).await.replace("/groups/", "/members/");
    let id = app.owner().make(&members, &json!({"name": role, "role": role})).await;
    let actor = app.member(&id).await;
    (id, actor)
}

async fn sees(actor: &Actor) -> u64 {
    actor.get("chatbots/").await.body_of(200)["count"].as_u64().unwrap()
}

#[tokio::test]
async fn a_group_limits_members_from_its_first_chatbot_to_its_last() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let (groups, first) = (groups(&app).await, app.chatbot());
    let second = owner.make("chatbots/", &json!({"name": "Second"})).await;
    let mut people = Vec::new();
    for role in ["owner", "admin", "member", "viewer"] {
        people.push(user(&app, role).await);
    }
    let (limited, unlimited) = (&people[2..], &people[..2]);
    let group = owner.make(&groups, &json!({"name": "Support", "permissions": ["organisation:write"]})).await;
    let place = format!("{groups}{group}");
    let ids: Vec<&String> = people.iter().map(|(id, _)| id).collect();
    owner.post(&format!("{place}/group-members/bulk-create/"), &json!({"users": ids})).await.expect(201);
    for (_, actor) in &people {
        assert_eq!(sees(actor).await, 2, "a group without chatbots limits nobody");
    }
    let link = owner.make(&format!("{place}/group-chatbots/"), &json!({"chatbot": second})).await;
    for (_, actor) in limited {
        assert_eq!(sees(actor).await, 1, "at once");
        actor.get(&format!("chatbots/{second}/")).await.expect(200);
        actor.get(&format!("chatbots/{first}/")).await.expect(404);
    }
    for (_, actor) in unlimited {
        assert_eq!(sees(actor).await, 2);
    }
    // Nobody widens their own reach, whatever else they may.
    let member = &people[2].1;
    for (method, path, body) in [
        ("POST", "chatbots/".to_owned(), Some(json!({"name": "Mine"}))),
        ("POST", format!("chatbots/{second}/duplicate/"), None),
        ("DELETE", format!("{place}/group-chatbots/{link}/"), None),
        ("POST", format!("{place}/group-chatbots/"), Some(json!({"chatbot": second}))),
        ("POST", format!("{place}/group-members/"), Some(json!({"user": people[2].0}))),
        ("DELETE", format!("{place}/"), None),
        ("POST", groups.clone(), Some(json!({"name": "Mine", "permissions": ["organisation:write"]}))),
        ("PATCH", format!("{place}/"), Some(json!({"name": "Mine"}))),
        ("PUT", format!("{place}/"), Some(json!({"permissions": ["organisation:write", "tools:write"]}))),
    ] {
        let answer = call(member, method, &path, body.as_ref()).await;
        assert_eq!(answer.status.as_u16(), 403, "{method} {path} {}", answer.text());
    }
    // A second group adds to the first.
    let other = owner.make(&groups, &json!({"name": "Sales", "permissions": []})).await;
    owner.post(&format!("{groups}{other}/group-chatbots/"), &json!({"chatbot": first})).await.expect(201);
    let joined = json!({"user": people[2].0});
    let joined = owner.make(&format!("{groups}{other}/group-members/"), &joined).await;
    assert_eq!((sees(member).await, sees(&people[3].1).await), (2, 1));
    owner.delete(&format!("{groups}{other}/group-members/{joined}/")).await.expect(204);
    assert_eq!(sees(member).await, 1);
    // The last chatbot is gone: that opens nothing.
    member.delete(&format!("chatbots/{second}/")).await.expect(204);
    assert_eq!(sees(member).await, 0);
    member.get(&format!("chatbots/{first}/")).await.expect(404);
    // Only who takes the last one from the group lifts the limit.
    let link = owner.make(&format!("{place}/group-chatbots/"), &json!({"chatbot": first})).await;
    assert_eq!(sees(member).await, 1);
    let third = owner.make("chatbots/", &json!({"name": "Third"})).await;
    member.get(&format!("chatbots/{third}/")).await.expect(404);
    owner.delete(&format!("{place}/group-chatbots/{link}/")).await.expect(204);
    member.get(&format!("chatbots/{third}/")).await.expect(200);
}

#[tokio::test]
async fn a_base_is_reached_through_any_chatbot_and_keeps_the_others() {
    let app = TestApp::start().await;
    let (beyond, within, member) = worlds(&app).await;
    let owner = app.owner();
    let path = format!("knowledge-bases/{}/", within.base);
    owner.patch(&path, &json!({"chatbots": [within.chatbot, beyond.chatbot]})).await.expect(200);
    let shown = member.get(&path).await.body_of(200);
    assert_eq!(shown["chatbots"].as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(shown["chatbots"][0]["id"], within.chatbot.as_str());
    // Who cannot see a chatbot does not part it from its base either.
    member.patch(&path, &json!({"chatbots": [within.chatbot]})).await.expect(200);
    assert_eq!(owner.get(&path).await.body_of(200)["chatbots"].as_array().unwrap().len(), 2);
    member.patch(&path, &json!({"chatbots": []})).await.expect(200);
    assert_eq!(owner.get(&path).await.body_of(200)["chatbots"][0]["id"], beyond.chatbot.as_str());
    member.get(&path).await.expect(404).json();
    owner.patch(&path, &json!({"chatbots": []})).await.expect(200);
    // A base of no chatbot is everybody's.
    member.get(&path).await.expect(200).json();
}

#[tokio::test]
async fn an_open_stream_ends_when_the_reach_changes() {
    let script = Script::Answer(vec![Step::Text("still going".into()), Step::Hang]);
    let model = std::sync::Arc::new(ScriptedChat::new([script]));
    let app = TestApp::builder().chat(&model).start().await;
    let owner = app.owner();
    let groups = groups(&app).await;
    let (id, member) = user(&app, "member").await;
    let group = owner.make(&groups, &json!({"name": "Support", "permissions": []})).await;
    let chatbots = format!("{groups}{group}/group-chatbots/");
    let link = owner.make(&chatbots, &json!({"chatbot": app.chatbot()})).await;
    owner.post(&format!("{groups}{group}/group-members/"), &json!({"user": id})).await.expect(201);
    let mut events = member.stream(&app.chatbot(), &json!({"message": {"content": "Hello?"}})).await;
    events.until_text().await;
    let other = owner.make("chatbots/", &json!({"name": "Other"})).await;
    owner.post(&chatbots, &json!({"chatbot": other})).await.expect(201);
    owner.delete(&format!("{chatbots}{link}/")).await.expect(204);
    let rest = tokio::time::timeout(Duration::from_mins(1), events.rest()).await.unwrap();
    assert_eq!(rest.last().unwrap().kind(), "cancelled");
}
