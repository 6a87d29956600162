//! Every operation of the document with every kind of credential that is not good for it.

use std::time::Duration;

use parlance_testkit::{Actor, Answer, Method, TestApp};
use serde_json::{Value, json};

use crate::openapi::{document, operations};
use crate::world::{UNKNOWN, World, told, world};

/// What is known here about an operation: the permissions it needs, joined by spaces, and a good body.
#[expect(clippy::match_same_arms, reason = "in the order of the nouns")]
#[expect(clippy::too_many_lines, reason = "one table of all operations")]
pub(crate) fn sample(method: &str, path: &str, own: &World) -> (&'static str, Option<Value>) {
    let file = json!({"file": own.upload});
    match (method, path.strip_prefix("/api/v1/").unwrap()) {
        ("GET", "chatbots/" | "chatbots/{id}/") => ("chatbots:read", None),
        ("POST", "chatbots/") => ("chatbots:write", Some(json!({"name": "New"}))),
        ("PUT" | "PATCH", "chatbots/{id}/") => ("chatbots:write", Some(json!({"name": "Changed"}))),
        ("POST", "chatbots/{id}/duplicate/") => ("chatbots:write", None),
        ("PATCH", "chatbots/{id}/enable-evaluation/") => ("chatbots:write", Some(json!({"enableEvaluation": true}))),
        ("POST", "chatbots/{id}/webhook-secret/" | "chatbots/{chatbot}/webhook-records/{id}/redeliver/") => {
            ("chatbots:write", None)
        }
        ("GET", "chatbots/{id}/webhook-records/") => ("chatbots:read", None),
        ("DELETE", "chatbots/{id}/") => ("chatbots:write", None),
        ("POST", "chatbots/{id}/completions/") => {
            ("completions:create", Some(json!({"message": {"content": "word"}, "isStreaming": true})))
        }
        ("GET", "conversations/" | "conversations/{id}/" | "messages/" | "messages/{id}/") => {
            ("conversations:read", None)
        }
        ("POST", "conversations/") => ("conversations:write", Some(json!({"webChat": own.web_chat}))),
        ("POST", "conversations/{id}/read/" | "conversations/{id}/typing/") => ("conversations:write", None),
        ("GET", "conversations/{id}/events/" | "inboxes/{id}/events/") => ("conversations:read", None),
        ("PATCH", "conversations/{id}/update-auto-reply/") => {
            ("conversations:write", Some(json!({"autoReplyEnabled": false})))
        }
        ("PATCH", "conversations/{id}/update-enable-group-mention/") => {
            ("conversations:write", Some(json!({"enableGroupMention": true})))
        }
        ("POST", "messages/" | "messages/outgoing/") => {
            ("conversations:write", Some(json!({"conversation": own.conversation, "content": "Taken"})))
        }
        ("PATCH", "messages/{id}/") => ("conversations:write", Some(json!({"feedback": "like"}))),
        ("PUT", "messages/{id}/feedback/") => ("conversations:write", Some(json!({"type": "like"}))),
        ("DELETE", "messages/{id}/feedback/") => ("conversations:write", None),
        ("GET", "messages/{id}/stream/") => ("conversations:read", None),
        ("POST", "messages/{id}/cancel/") => ("completions:create", None),
        ("GET", "knowledge-bases/{id}/search/") => ("knowledge:read", None),
        ("POST", "knowledge-bases/{id}/search/") => ("knowledge:read", Some(json!({"query": "word"}))),
        ("POST", "knowledge-bases/{id}/files/") => ("knowledge:write", Some(json!({"files": [file]}))),
        ("POST", "knowledge-bases/{id}/files/batch-delete/") => ("knowledge:write", Some(json!({"ids": [own.file]}))),
        ("PATCH", "knowledge-bases/{id}/files/batch-reparse/") => ("knowledge:write", Some(json!([{"id": own.file}]))),
        ("PUT" | "PATCH", "knowledge-bases/{kb}/files/{id}/") => {
            ("knowledge:write", Some(json!({"filename": "changed.txt"})))
        }
        (
            "PATCH" | "POST",
            "knowledge-bases/{kb}/files/{id}/update-metadata/" | "knowledge-bases/{kb}/faqs/{id}/update-metadata/",
        ) => ("knowledge:write", Some(json!({"rawUserDefineMetadata": {"changed": true}}))),
        ("POST", "faqs/") => {
            ("knowledge:write", Some(json!({"chatbot": own.chatbot, "question": "Changed?", "answer": "Yes."})))
        }
        ("POST", "chatbots/{id}/faqs/") | ("PUT" | "PATCH", "chatbots/{chatbot}/faqs/{id}/") => {
            ("knowledge:write", Some(json!({"question": "Changed?", "answer": "Yes."})))
        }
        ("POST", "chatbots/{id}/faqs/batch-delete/") => ("knowledge:write", Some(json!({"ids": [own.faq]}))),
        ("POST", "chatbots/{id}/files/") => ("knowledge:write", Some(json!({"files": [file]}))),
        ("PUT" | "PATCH", "chatbots/{chatbot}/files/{id}/") => {
            ("knowledge:write", Some(json!({"filename": "changed.txt"})))
        }
        ("POST", "chatbots/{id}/files/batch-delete/") => ("knowledge:write", Some(json!({"ids": [own.file]}))),
        ("DELETE", "chatbots/{chatbot}/faqs/{id}/" | "chatbots/{chatbot}/files/{id}/") => ("knowledge:write", None),
        ("POST", "chatbots/{id}/search/") => ("knowledge:read", Some(json!({"query": "word"}))),
        (
            "GET",
            "chatbots/{id}/faqs/"
            | "chatbots/{chatbot}/faqs/{id}/"
            | "chatbots/{id}/files/"
            | "chatbots/{id}/knowledge-bases-files/"
            | "chatbots/{chatbot}/files/{id}/"
            | "chatbots/{chatbot}/files/{id}/latest-failed-reason/",
        ) => ("knowledge:read", None),
        ("POST", "knowledge-bases/{id}/labels/") | ("PUT" | "PATCH", "knowledge-bases/{kb}/labels/{id}/") => {
            ("knowledge:write", Some(json!({"name": "Changed"})))
        }
        ("POST", "knowledge-bases/{id}/faqs/") | ("PUT" | "PATCH", "knowledge-bases/{kb}/faqs/{id}/") => {
            ("knowledge:write", Some(json!({"question": "Changed?", "answer": "Yes."})))
        }
        ("POST", "knowledge-bases/{id}/faqs/batch-delete/") => ("knowledge:write", Some(json!({"ids": [own.faq]}))),
        ("DELETE", "knowledge-bases/{kb}/labels/{id}/" | "knowledge-bases/{kb}/faqs/{id}/") => {
            ("knowledge:write", None)
        }
        (
            "GET",
            "knowledge-bases/{id}/labels/"
            | "knowledge-bases/{kb}/labels/{id}/"
            | "knowledge-bases/{id}/faqs/"
            | "knowledge-bases/{kb}/faqs/{id}/",
        ) => ("knowledge:read", None),
        ("POST", "upload-presigned-url/") => (
            "knowledge:write",
            Some(json!({"filename": "a.txt", "modelName": "attachment", "fieldName": "file", "fileSize": 3})),
        ),
        ("POST" | "PUT" | "PATCH", "knowledge-bases/" | "knowledge-bases/{id}/") => {
            ("knowledge:write", Some(json!({"name": "Changed"})))
        }
        ("DELETE", "knowledge-bases/{id}/" | "knowledge-bases/{kb}/files/{id}/") => ("knowledge:write", None),
        (
            "GET",
            "knowledge-bases/"
            | "knowledge-bases/{id}/"
            | "knowledge-bases/{id}/files/"
            | "knowledge-bases/{kb}/files/{id}/"
            | "chatbot-text-nodes/"
            | "parsers/"
            | "parsers/{id}/"
            | "parsers/supported-file-types/"
            | "allowed-file-types/",
        ) => ("knowledge:read", None),
        (_, path)
            if ["organizations/", "users/", "permissions/", "api-keys/", "audit-log/"]
                .iter()
                .any(|noun| path.starts_with(noun)) =>
        {
            organization_sample(method, path, own)
        }
        ("GET", "attachments/" | "attachments/{id}/") => ("conversations:read", None),
        ("POST", "attachments/" | "attachments-upload/" | "conversations/{id}/attachments/") => {
            ("conversations:write", Some(file))
        }
        ("DELETE", "attachments/{id}/") => ("conversations:write", None),
        (
            "GET",
            "large-language-models/"
            | "embedding-models/"
            | "reranker-models/"
            | "model-providers/"
            | "model-providers/{id}/",
        ) => ("models:read", None),
        ("POST" | "PUT", "model-providers/" | "model-providers/{id}/") => (
            "models:write",
            Some(json!({"name": "Changed", "kind": "openai", "baseUrl": "https://other.example/v1", "models": []})),
        ),
        ("DELETE", "model-providers/{id}/") => ("models:write", None),
        ("GET", "inboxes/" | "inboxes/{id}/") => ("channels:read", None),
        ("POST", "inboxes/") => {
            let body = json!({"name": "New", "channelType": "web", "chatbot": own.chatbot});
            ("channels:write chatbots:read", Some(body))
        }
        ("PUT" | "PATCH", "inboxes/{id}/") => ("channels:write", Some(json!({"name": "Changed"}))),
        ("DELETE", "inboxes/{id}/") => ("channels:write", None),
        ("GET", "contacts/" | "contacts/{id}/") => ("contacts:read", None),
        ("POST" | "PUT" | "PATCH", "contacts/" | "contacts/{id}/") => {
            ("contacts:write", Some(json!({"name": "Changed"})))
        }
        ("DELETE", "contacts/{id}/") => ("contacts:write", None),
        ("GET", "contacts/{id}/conversations/" | "contacts/{id}/conversations/latest/") => ("conversations:read", None),
        ("POST", "contacts/broadcast-message/") => {
            let body = json!({"message": "Changed", "contact_ids": [own.contact]});
            ("contacts:write conversations:write", Some(body))
        }
        ("POST", "web-chats/{id}/setup-contact-credentials/") => {
            ("contacts:write", Some(json!({"sourceId": "changed"})))
        }
        ("GET", "tools/" | "tools/{id}/") => ("tools:read", None),
        ("POST", "tools/") => (
            "tools:write",
            Some(json!({"name": "t", "displayName": "T", "toolType": "api", "apiUrl": "https://tools.example/"})),
        ),
        ("PUT" | "PATCH", "tools/{id}/") => ("tools:write", Some(json!({"displayName": "Changed"}))),
        ("DELETE", "tools/{id}/") => ("tools:write", None),
        ("GET", "web-chats/" | "web-chats/{id}/") => ("channels:read", None),
        ("POST", "web-chats/") => {
            ("channels:write chatbots:read", Some(json!({"chatbot": own.chatbot, "theme": {}, "darkTheme": {}})))
        }
        ("PUT" | "PATCH", "web-chats/{id}/") => {
            ("channels:write", Some(json!({"name": "Changed", "theme": {}, "darkTheme": {}})))
        }
        ("DELETE", "web-chats/{id}/") => ("channels:write", None),
        ("POST", "web-chats/{id}/sessions/") => ("channels:write", None),
        ("POST", "web-chats/{id}/identity-secret/") => ("channels:write conversations:read conversations:write", None),
        ("POST", "web-chats/{id}/completions/") => {
            ("completions:create", Some(json!({"message": {"content": "word"}, "isStreaming": true})))
        }
        ("POST", "web-chats/{id}/voice-agent/token/") => ("completions:create", Some(json!({}))),
        _ => panic!("{method} {path} has no sample: add it here, so that its authorization is tested"),
    }
}

fn organization_sample(method: &str, path: &str, own: &World) -> (&'static str, Option<Value>) {
    let last = path.trim_end_matches('/').rsplit('/').find(|part| !part.starts_with('{')).unwrap();
    let body = match (method, last) {
        ("GET", _) => return ("organisation:read", None),
        ("DELETE", _) => None,
        ("POST", "group-members") => Some(json!({"user": own.member})),
        ("POST", "group-chatbots") => Some(json!({"chatbot": own.chatbot})),
        ("POST", "bulk-create") => Some(json!({"users": [own.member], "chatbots": [own.chatbot]})),
        ("POST", "groups") => Some(json!({"name": "New", "permissions": ["chatbots:read"]})),
        _ => Some(json!({"name": "Changed"})),
    };
    ("organisation:write", body)
}

/// The path with the ids of `world`, or with ids of nothing.
pub(crate) fn filled(path: &str, world: Option<&World>) -> String {
    let id = |pick: fn(&World) -> &String| world.map_or(UNKNOWN.to_owned(), |world| pick(world).clone());
    let noun = path.strip_prefix("/api/v1/").unwrap().split('/').next().unwrap();
    let query = if path.ends_with("/search/") { "?query=word" } else { "" };
    let last = if path.contains("/labels/") {
        id(|world| &world.label)
    } else if path.contains("/faqs/") {
        id(|world| &world.faq)
    } else if path.contains("/webhook-records/") {
        id(|world| &world.webhook_record)
    } else {
        id(|world| &world.file)
    };
    let path = if noun == "organizations" || noun == "users" || noun == "api-keys" {
        let path = path
            .replace("{organization}", &id(|world| &world.organization))
            .replace("{group}", &id(|world| &world.group))
            .replace("organizations/{id}/", &format!("organizations/{}/", id(|world| &world.organization)));
        let end = match path.trim_end_matches("/{id}/").rsplit('/').next().unwrap() {
            "groups" => id(|world| &world.group),
            "group-members" => id(|world| &world.group_member),
            "group-chatbots" => id(|world| &world.group_chatbot),
            "api-keys" => id(|world| &world.key),
            _ => id(|world| &world.member),
        };
        path.replace("{id}", &end)
    } else if path.contains("{chatbot}") {
        path.replace("{chatbot}", &id(|world| &world.chatbot)).replace("{id}", &last)
    } else if path.contains("{kb}") {
        path.replace("{kb}", &id(|world| &world.base)).replace("{id}", &last)
    } else {
        let value = match noun {
            "chatbots" => id(|world| &world.chatbot),
            "knowledge-bases" => id(|world| &world.base),
            "messages" => id(|world| &world.message),
            "attachments" => id(|world| &world.attachment),
            "conversations" => id(|world| &world.conversation),
            "model-providers" => id(|world| &world.provider),
            "tools" => id(|world| &world.tool),
            "contacts" => id(|world| &world.contact),
            "inboxes" => id(|world| &world.inbox),
            "web-chats" => id(|world| &world.web_chat),
            _ => UNKNOWN.to_owned(),
        };
        path.replace("{id}", &value)
    };
    path + query
}

/// Operations that a chat page calls before it has a visitor: they answer without a credential, but
/// one that is given has to be good.
const OPEN: [(&str, &str); 2] = [("GET", "/api/v1/web-chats/{id}/"), ("POST", "/api/v1/web-chats/{id}/sessions/")];

async fn call(actor: &Actor, method: &str, path: &str, body: Option<&Value>) -> Answer {
    actor.call(Method::from_bytes(method.as_bytes()).unwrap(), path, body).await
}

/// An answer without what differs between any two requests.
fn comparable(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let headers = answer.headers.iter().filter(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()));
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    (answer.status.as_u16(), headers, answer.text())
}

#[tokio::test]
async fn bad_credentials_reach_nothing() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let own = world(&app, &owner, "heron").await;
    let before = told(&owner, &own).await;
    let now = app.app.now();
    let missing = "Authentication credentials were not provided.";
    let format = "Invalid API key format.";
    let unknown = "Invalid API key.";
    let key = owner.authorization().unwrap().strip_prefix("Api-Key ").unwrap().to_owned();
    let bad = [
        (app.nobody(), missing),
        (app.with_header(""), missing),
        (app.with_header(&format!("Bearer {key}")), format),
        (app.with_header(&key), format),
        (app.with_header("Api-Key"), format),
        (app.with_header(&format!("Api-Key {key} x")), format),
        (app.with_header(&format!("Api-Key {key}x")), unknown),
        (app.with_header(&format!("Api-Key {}", &key[1..])), unknown),
        (app.key_until("*", None, Some(now)).await, unknown),
        (app.key_until("*", Some(now), None).await, unknown),
    ];
    for (method, path, _) in operations(&document()) {
        let (_, body) = sample(&method, &path, &own);
        for (actor, detail) in &bad {
            if actor.authorization().is_none() && OPEN.contains(&(method.as_str(), path.as_str())) {
                continue;
            }
            let answer = call(actor, &method, &filled(&path, Some(&own)), body.as_ref()).await;
            let expected = json!({"detail": detail, "code": "not_authenticated"});
            assert_eq!(answer.header("www-authenticate"), "Api-Key");
            assert_eq!(answer.body_of(401), expected, "{method} {path} with {:?}", actor.authorization());
        }
    }
    assert_eq!(told(&owner, &own).await, before);
}

#[tokio::test]
async fn each_operation_needs_its_permission() {
    const SCOPES: [&str; 17] = [
        "organisation:read",
        "organisation:write",
        "chatbots:read",
        "chatbots:write",
        "knowledge:read",
        "knowledge:write",
        "conversations:read",
        "conversations:write",
        "completions:create",
        "models:read",
        "models:write",
        "channels:read",
        "channels:write",
        "contacts:read",
        "contacts:write",
        "tools:read",
        "tools:write",
    ];
    let app = TestApp::start().await;
    let owner = app.owner();
    let own = world(&app, &owner, "heron").await;
    let before = told(&owner, &own).await;
    let mut without = Vec::new();
    let mut only = std::collections::HashMap::new();
    for scope in SCOPES {
        let others: Vec<&str> = SCOPES.into_iter().filter(|other| *other != scope).collect();
        without.push(app.key(&others.join(" ")).await);
    }
    for (method, path, _) in operations(&document()) {
        let (scopes, body) = sample(&method, &path, &own);
        for scope in scopes.split(' ') {
            let position = SCOPES.iter().position(|known| *known == scope).unwrap();
            let answer = call(&without[position], &method, &filled(&path, Some(&own)), body.as_ref()).await;
            assert_eq!(
                answer.body_of(403),
                json!({
                    "detail": format!("You do not have permission to perform this action ({scope})."),
                    "code": "permission_denied",
                }),
                "{method} {path}"
            );
        }
        if path.contains('{') {
            if !only.contains_key(scopes) {
                only.insert(scopes, app.key(scopes).await);
            }
            let answer = call(&only[scopes], &method, &filled(&path, None), body.as_ref()).await;
            assert_eq!(answer.status.as_u16(), 404, "{} {}", answer.asked, answer.text());
        }
    }
    assert_eq!(told(&owner, &own).await, before);
}

#[tokio::test]
async fn another_organisation_does_not_exist() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let own = world(&app, &owner, "heron").await;
    let other = app.other_organisation().await;
    let theirs = world(&app, &other, "curlew").await;
    let before = told(&owner, &own).await;
    for (method, path, _) in operations(&document()) {
        // The body is good and the caller's own; only the path is not.
        let (_, body) = sample(&method, &path, &theirs);
        if path.contains('{') {
            let foreign = call(&other, &method, &filled(&path, Some(&own)), body.as_ref()).await;
            let nothing = call(&other, &method, &filled(&path, None), body.as_ref()).await;
            let malformed = filled(&path, None).replace(UNKNOWN, "1");
            let malformed = call(&other, &method, &malformed, body.as_ref()).await;
            assert_eq!(foreign.status.as_u16(), 404, "{} {}", foreign.asked, foreign.text());
            assert_eq!(foreign.json(), json!({"detail": "Not found.", "code": "not_found"}));
            assert_eq!(comparable(&foreign), comparable(&nothing), "{method} {path}");
            assert_eq!(comparable(&foreign), comparable(&malformed), "{method} {path}");
        } else if method == "GET" && !["/api/v1/chatbot-text-nodes/", "/api/v1/messages/"].contains(&path.as_str()) {
            let list = call(&other, &method, &path, None).await.expect(200).text();
            assert!(!list.contains("heron"), "{path} {list}");
        }
    }
    let nodes = other.get(&format!("chatbot-text-nodes/?chatbotFile={}", own.file)).await;
    assert_eq!(nodes.body_of(400), json!({"chatbotFile": ["No file has this id."]}));
    let messages = other.get(&format!("messages/?conversation={}", own.conversation)).await;
    assert_eq!(messages.body_of(400), json!({"conversation": ["No conversation has this id."]}));
    assert_eq!(told(&owner, &own).await, before);
}

#[tokio::test]
async fn keys_end_when_their_time_has_come() {
    let clock = std::sync::Arc::new(parlance_testkit::ManualClock::starting_at(
        parlance_domain::Timestamp::from_millis(1_790_000_000_000),
    ));
    let app = TestApp::builder().clock(&clock).start().await;
    let end = app.app.now().plus(Duration::from_mins(1));
    let guest = app.key_until("chatbots:read", Some(end), None).await;
    guest.get("chatbots/").await.expect(200).json();
    clock.advance(Duration::from_secs(59));
    guest.get("chatbots/").await.expect(200).json();
    // The key is still remembered, but not beyond its end.
    clock.advance(Duration::from_secs(1));
    assert_eq!(guest.get("chatbots/").await.body_of(401)["detail"], "Invalid API key.");
}
