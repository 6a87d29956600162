//! Conversations: begun, listed, searched, taken over.

use parlance_testkit::{Actor, TestApp};
use serde_json::{Value, json};

use crate::world::UNKNOWN;

/// The hidden web chat of a new assistant.
async fn web_chat(app: &TestApp) -> String {
    let chatbot = app.owner().make("chatbots/", &json!({"name": "Bot"})).await;
    let shown = app.owner().get(&format!("chatbots/{chatbot}/")).await.body_of(200);
    shown["apiWebChatId"].as_str().unwrap().to_owned()
}

async fn say(actor: &Actor, conversation: &str, content: &str) -> Value {
    actor.post("messages/", &json!({"conversation": conversation, "content": content})).await.body_of(201)
}

fn ids(list: &Value) -> Vec<String> {
    list["results"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

async fn found(actor: &Actor, keyword: &str) -> Vec<String> {
    let query: String = url::form_urlencoded::byte_serialize(keyword.as_bytes()).collect();
    ids(&actor.get(&format!("conversations/?keyword={query}")).await.body_of(200))
}

#[tokio::test]
async fn a_conversation_is_begun_and_shown() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let web_chat = web_chat(&app).await;
    let begun = owner.post("conversations/", &json!({"webChat": web_chat})).await.body_of(201);
    for (member, expected) in [
        ("title", json!("")),
        ("lastMessage", Value::Null),
        ("lastMessageCreatedAt", Value::Null),
        ("unreadMessagesCount", json!(0)),
        ("autoReplyEnabled", json!(true)),
        ("isAutoReplyNow", json!(true)),
        ("lastReadAt", Value::Null),
        ("isGroupChat", json!(false)),
        ("enableGroupMention", json!(false)),
    ] {
        assert_eq!(begun[member], expected, "{member}");
    }
    assert_eq!(begun["contact"]["name"], "訪客");
    assert_eq!(begun["inbox"]["channelType"], "web");
    let id = begun["id"].as_str().unwrap();
    let path = format!("conversations/{id}/");
    assert_eq!(owner.get(&path).await.body_of(200), begun);

    let message = say(&owner, id, &format!("退貨須知 {}", "x".repeat(80))).await;
    let shown = owner.get(&path).await.body_of(200);
    assert_eq!(shown["title"].as_str().unwrap().chars().count(), 60);
    assert_eq!(shown["lastMessage"]["id"], message["id"]);
    assert_eq!(shown["lastMessageCreatedAt"], message["createdAt"]);
    assert_eq!((&shown["unreadMessagesCount"], &shown["inbox"]["unreadConversationsCount"]), (&json!(1), &json!(1)));
    let read = owner.post(&format!("{path}read/"), &json!({})).await.body_of(200);
    assert_eq!((&read["unreadMessagesCount"], &read["inbox"]["unreadConversationsCount"]), (&json!(0), &json!(0)));
    assert_eq!(read["lastReadAt"].as_str().unwrap().len(), 13);
    let mention = format!("{path}update-enable-group-mention/");
    let changed = owner.patch(&mention, &json!({"enable_group_mention": true})).await.body_of(200);
    assert_eq!(changed["enableGroupMention"], true);

    // By whom the caller knows.
    for _ in 0..2 {
        let known = json!({"webChat": web_chat, "sourceId": "customer-7"});
        owner.post("conversations/", &known).await.expect(201).json();
    }
    let list = owner.get("conversations/").await.body_of(200);
    assert!(list.get("count").is_none());
    let customers: Vec<_> = list["results"].as_array().unwrap()[..2].iter().map(|one| &one["contact"]["id"]).collect();
    assert_eq!(customers[0], customers[1]);
    let contact = json!({"webChat": web_chat, "contact": customers[0]});
    let third = owner.post("conversations/", &contact).await.body_of(201);
    assert_eq!(&third["contact"]["id"], customers[0]);
    for (body, field) in [
        (json!({}), "webChat"),
        (json!({"webChat": UNKNOWN}), "webChat"),
        (json!({"webChat": "x"}), "webChat"),
        (json!({"webChat": web_chat, "contactId": UNKNOWN}), "contactId"),
        (json!({"webChat": web_chat, "sourceId": "x".repeat(256)}), "sourceId"),
    ] {
        assert!(owner.post("conversations/", &body).await.body_of(400)[field].is_array(), "{body}");
    }
    assert_eq!(owner.get("conversations/?inbox=x").await.body_of(400), json!({"inbox": ["No inbox has this id."]}));
}

#[tokio::test]
async fn a_list_is_walked_while_it_grows() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let web_chat = web_chat(&app).await;
    let mut begun = Vec::new();
    for _ in 0..7 {
        begun.push(owner.make("conversations/", &json!({"webChat": web_chat})).await);
    }
    let inbox = owner.get(&format!("conversations/{}/", begun[0])).await.body_of(200)["inbox"]["id"].clone();
    let first = owner.get(&format!("conversations/?inbox={}&page_size=3", inbox.as_str().unwrap())).await.body_of(200);
    assert_eq!(first["previous"], Value::Null);
    let (mut seen, mut next) = (ids(&first), first["next"].clone());
    let mut previous = Value::Null;
    while let Some(url) = next.as_str() {
        // Something new at the beginning moves nothing.
        owner.make("conversations/", &json!({"webChat": web_chat})).await;
        let page = owner.get(url).await.body_of(200);
        seen.extend(ids(&page));
        next = page["next"].clone();
        previous = page["previous"].clone();
    }
    let expected: Vec<String> = begun.iter().rev().cloned().collect();
    assert_eq!(seen, expected);
    // And back, over what came meanwhile.
    let mut back = Vec::new();
    while let Some(url) = previous.as_str() {
        let page = owner.get(url).await.body_of(200);
        back.splice(0..0, ids(&page));
        previous = page["previous"].clone();
        assert!(page["next"].is_string());
    }
    assert_eq!(back.len(), 6 + 2);
    assert_eq!(back[2..], expected[..6]);
    assert_eq!(owner.get("conversations/?cursor=cD00ODY%3D").await.body_of(404)["detail"], "Invalid cursor.");
    let all = ids(&owner.get("conversations/?pageSize=1000").await.body_of(200));
    assert_eq!(all.len(), 9);
    // What somebody writes to comes first.
    say(&owner, &begun[2], "hello").await;
    assert_eq!(ids(&owner.get("conversations/?pageSize=1").await.body_of(200)), [begun[2].clone()]);
}

#[tokio::test]
async fn keywords_find_messages_names_and_answers() {
    let app = TestApp::start().await;
    app.know(&[("returns.txt", "Goods can be returned within seven days.")]).await;
    let owner = app.owner();
    let web_chat = web_chat(&app).await;
    let begin = async || owner.make("conversations/", &json!({"webChat": web_chat})).await;
    let (returns, refunds) = (begin().await, begin().await);
    say(&owner, &returns, "請問退貨流程").await;
    say(&owner, &refunds, "Where is my Refund for ORD1234?").await;
    for _ in 0..3 {
        say(&owner, &returns, "還有別的問題").await;
    }
    for keyword in ["退貨", "退货", "退貨流程", "退"] {
        assert_eq!(found(&owner, keyword).await, std::slice::from_ref(&returns), "{keyword}");
    }
    for keyword in ["refund", "REFUND", "refu", "1234", "ord1234", "where refund", "refund for"] {
        assert_eq!(found(&owner, keyword).await, std::slice::from_ref(&refunds), "{keyword}");
    }
    for keyword in ["fund", "退款", "refund 退貨", "!!!", "nothing"] {
        assert_eq!(found(&owner, keyword).await, Vec::<String>::new(), "{keyword}");
    }
    assert_eq!(found(&owner, "訪客").await.len(), 2);
    assert_eq!(found(&owner, " ").await.len(), 2, "nothing asked is everything");
    let answer = owner.ask(&app.chatbot(), "Within how many days can goods be returned?").await;
    assert_eq!(found(&owner, "seven").await, [answer["conversationId"].as_str().unwrap().to_owned()]);
    let long = "x".repeat(201);
    assert!(owner.get(&format!("conversations/?keyword={long}")).await.body_of(400)["keyword"].is_array());
    let other = app.other_organisation().await;
    assert_eq!(found(&other, "退貨").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_person_takes_over_and_hands_back() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let id = owner.make("conversations/", &json!({"webChat": web_chat(&app).await})).await;
    let path = format!("conversations/{id}/");
    let switch = format!("{path}update-auto-reply/");
    let reply = json!({"conversation": id, "content": "我來幫您", "type": "outgoing"});
    let sent = owner.post("messages/", &reply).await.body_of(201);
    assert_eq!(sent["type"], "outgoing");
    let shown = owner.get(&path).await.body_of(200);
    assert_eq!((&shown["autoReplyEnabled"], &shown["isAutoReplyNow"]), (&json!(false), &json!(false)));
    assert_eq!((&shown["title"], &shown["unreadMessagesCount"]), (&json!(""), &json!(0)), "the contact said nothing");
    let back = owner.patch(&switch, &json!({"autoReplyEnabled": true})).await.body_of(200);
    assert_eq!((&back["autoReplyEnabled"], &back["isAutoReplyNow"]), (&json!(true), &json!(true)));
    owner.post("messages/outgoing/", &json!({"conversation": id, "content": "again"})).await.expect(201).json();
    assert_eq!(owner.get(&path).await.body_of(200)["autoReplyEnabled"], false);
    assert!(owner.patch(&switch, &json!({})).await.body_of(400)["autoReplyEnabled"].is_array());
}

#[tokio::test]
async fn a_visitor_reaches_their_own_conversations_only() {
    use parlance_domain::kind::{ContactId, ConversationId, InboxId, MessageId, WebChatId};
    use parlance_domain::{Error, Principal, PrincipalKind, Scopes, Visitor};
    use parlance_service::conversation_search::{self, Asked};
    use parlance_service::conversations::{self, NewConversation};
    use parlance_service::messages::{self, Judgement, NewMessage};

    let app = TestApp::start().await;
    let owner = app.owner();
    let web_chat = web_chat(&app).await;
    let own = owner.post("conversations/", &json!({"webChat": web_chat})).await.body_of(201);
    let other = owner.post("conversations/", &json!({"webChat": web_chat})).await.body_of(201);
    let secret = say(&owner, other["id"].as_str().unwrap(), "heron").await;
    let secret = MessageId::parse(secret["id"].as_str().unwrap()).unwrap();
    let id = |one: &Value| ConversationId::parse(one["id"].as_str().unwrap()).unwrap();
    let (own_id, other_id) = (id(&own), id(&other));
    let web_chat = WebChatId::parse(&web_chat).unwrap();
    let contact = |one: &Value| ContactId::parse(one["contact"]["id"].as_str().unwrap()).unwrap();
    let inbox = InboxId::parse(own["inbox"]["id"].as_str().unwrap()).unwrap();
    let visitor = Visitor { web_chat, inbox, contact: contact(&own) };
    let who = Principal { tenant: app.tenant, user: None, kind: PrincipalKind::Visitor(visitor), scopes: Scopes::NONE };
    let app = &app.app;
    let message = |conversation, is_reply| NewMessage {
        conversation,
        is_reply,
        content: "hello".into(),
        content_payload: None,
        query_metadata: None,
        canvas: None,
        attachments: Vec::new(),
    };
    let sent = messages::create(app, &who, message(own_id, false)).await.unwrap();
    assert_eq!(sent.message.contact_id, Some(visitor.contact));
    assert!(matches!(messages::create(app, &who, message(own_id, true)).await, Err(Error::Forbidden(_))));
    assert!(matches!(messages::create(app, &who, message(other_id, false)).await, Err(Error::Invalid(_))));
    assert_eq!(messages::list(app, &who, own_id, None, 9).await.unwrap().1, 1);
    assert!(matches!(messages::list(app, &who, other_id, None, 9).await, Err(Error::Invalid(_))));
    messages::get(app, &who, sent.message.id, None).await.unwrap();
    assert!(matches!(messages::get(app, &who, secret, None).await, Err(Error::NotFound(_))));
    let like = Judgement { is_like: true, suggestion: String::new() };
    assert!(matches!(messages::judge(app, &who, secret, Some(like)).await, Err(Error::NotFound(_))));
    conversations::get(app, &who, own_id).await.unwrap();
    assert!(matches!(conversations::get(app, &who, other_id).await, Err(Error::NotFound(_))));
    assert!(matches!(conversations::find(app, &who, other_id).await, Err(Error::NotFound(_))));
    conversations::typing(app, &who, own_id, true).await.unwrap();
    assert!(matches!(conversations::typing(app, &who, other_id, true).await, Err(Error::NotFound(_))));
    for (keyword, expected) in [("", 1), ("hello", 1), ("heron", 0), ("訪客", 1)] {
        let asked = Asked { keyword: keyword.into(), ..Asked::default() };
        let listed = conversation_search::list(app, &who, &asked, None, 9).await.unwrap();
        assert_eq!(listed.rows.len(), expected, "{keyword}");
    }
    let new = |web_chat, contact| NewConversation { web_chat, contact, contact_field: "contact", source_id: None };
    let begun = conversations::create(app, &who, new(web_chat, None)).await.unwrap();
    assert_eq!(begun.listed.conversation.contact_id, visitor.contact);
    let elsewhere = WebChatId::parse(UNKNOWN).unwrap();
    assert!(matches!(conversations::create(app, &who, new(elsewhere, None)).await, Err(Error::Invalid(_))));
    let as_other = new(web_chat, Some(contact(&other)));
    assert!(matches!(conversations::create(app, &who, as_other).await, Err(Error::Forbidden(_))));
    // The same contact in another inbox is not the visitor of this page.
    let elsewhere = Visitor { inbox: InboxId::parse(UNKNOWN).unwrap(), ..visitor };
    let elsewhere = Principal { kind: PrincipalKind::Visitor(elsewhere), ..who };
    assert!(matches!(conversations::get(app, &elsewhere, own_id).await, Err(Error::NotFound(_))));
}
