//! Web chats: their fields, what is refused, what everybody may see.

use parlance_testkit::{Actor, TestApp};
use serde_json::{Value, json};

/// The smallest web chat there is.
fn smallest() -> Value {
    json!({"theme": {}, "darkTheme": {}})
}

async fn made(actor: &Actor, chatbot: &str, more: Value) -> Value {
    let mut body = smallest();
    body["chatbot"] = json!(chatbot);
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    actor.post("web-chats/", &body).await.body_of(201)
}

#[tokio::test]
async fn a_new_web_chat_has_the_defaults_of_the_contract() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let web_chat = owner.post("web-chats/", &smallest()).await.body_of(201);
    let expected = json!({
        "avatar": null, "logo": null, "cover": null, "poweredByLogo": null, "buttonIcon": null,
        "description": "", "backUrl": "", "isActive": true, "enableSpeech": false,
        "displayGreeting": null, "displayConversationStarters": [], "accessType": "web",
        "enableFileUpload": true, "enableDisplayCitations": true, "toolDisplayMode": "full",
        "enableDisplayToolResults": true, "enableDisplayThinking": false, "enableUserThinkingControl": false,
        "enableDisplayQueryMetadata": false, "enableShareConversation": false, "enableLocation": false,
        "enableShowPoweredBy": true, "enableAnonymous": true, "enableDisplayPreviousConversation": false,
        "enableDisplayConversationHistory": false, "enableConversationTimer": false,
        "conversationTimerDuration": 10, "enableAutoNewConversationOnTimeout": false,
        "enableThemeModeToggle": false, "enableDisplayFontSizeSwitch": false, "defaultThemeMode": "light",
        "enableDownloadCitations": false, "customDomain": null, "enableDisplayChatbotAvatar": true,
        "enableDisplayChatbotName": true, "enableVoiceAgent": false, "allowedOrigins": [], "themeWarnings": [],
        "dailyReplyLimit": null, "dailyTokenLimit": null, "chatbot": app.chatbot(),
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&web_chat[field], value, "{field}");
    }
    assert_eq!(web_chat["theme"]["primaryColor"], "#3854d8");
    assert_eq!(web_chat["theme"].as_object().unwrap().len(), 12);
    assert_eq!(web_chat["darkTheme"].as_object().unwrap().len(), 12);
    let bot = owner.get(&format!("chatbots/{}/", app.chatbot())).await.body_of(200);
    assert_eq!(web_chat["name"], bot["name"], "a web chat is called like its assistant");
    assert_eq!(web_chat["inbox"]["name"], bot["name"]);
    assert!(web_chat["inbox"]["id"].is_string() && web_chat["inbox"]["signAuth"].is_null());

    let path = format!("web-chats/{}/", web_chat["id"].as_str().unwrap());
    assert_eq!(owner.get(&path).await.body_of(200), web_chat);
    let listed = owner.get("web-chats/").await.body_of(200);
    assert_eq!(listed.as_array().unwrap().len(), 2, "the page of the first start and this one");
    assert_eq!(listed[0], web_chat, "newest first, whole objects");
    let hidden = owner.get("web-chats/?accessType=api").await.body_of(200);
    assert_eq!((hidden.as_array().unwrap().len(), &hidden[0]["id"]), (1, &bot["apiWebChatId"]));
    assert_eq!(owner.get("web-chats/?chatbot=unknown").await.body_of(200), json!([]));

    owner.delete(&path).await.expect(204);
    owner.get(&path).await.expect(404);
    owner.delete(&path).await.expect(404);
    let hidden = format!("web-chats/{}/", bot["apiWebChatId"].as_str().unwrap());
    assert_eq!(owner.delete(&hidden).await.body_of(409)["code"], "conflict");
    owner.get(&hidden).await.expect(200);
}

#[tokio::test]
async fn every_field_that_is_written_is_read_again() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let logo = owner.upload("web-chat", "標誌.png", b"\x89PNG\r\n\x1a\nlogo").await;
    let theme = json!({
        "primaryColor": "rgb(0, 51, 102)", "navbarTextColor": "white", "dialogColor": "#DDEAF6",
        "conversationBackgroundColor": "hsl(0 0% 100%)", "chatbotMessageTextColor": "#000",
        "userMessageTextColor": "#ffffffff", "chatbotMessageBackgroundColor": "WhiteSmoke",
        "userMessageBackgroundColor": "rgb(0 0 0 / 90%)", "chatbotMessageBackgroundShadowEnabled": true,
        "userMessageBackgroundShadowEnabled": true, "chatbotMessageGradientEnabled": true,
        "userMessageGradientEnabled": true,
    });
    let body = json!({
        "name": "客服", "avatar": "https://www.example.com/face.png", "logo": logo, "description": "說明",
        "backUrl": "https://www.example.com/", "isActive": false, "theme": theme, "darkTheme": theme,
        "greeting": "您好", "conversationStarters": ["營業時間？", "退貨"], "toolDisplayMode": "compact",
        "conversationTimerDuration": 60, "defaultThemeMode": "system", "accessType": "admin",
        "allowedOrigins": ["https://WWW.example.com/", "http://localhost:5173", "https://www.example.com"],
        "customDomain": {"domain": "Chat.客服.example.TW."}, "dailyReplyLimit": 0, "dailyTokenLimit": 100_000,
        "signAuth": {"signSource": {"accessType": "keycloak"},
            "signParams": {"keycloak": {"url": "example.com", "realm": "r", "clientId": "c"}}},
        "unknownField": 1, "organization": "x", "id": "y",
        // Every switch against its default.
        "enableFileUpload": false, "enableDisplayCitations": false, "enableDisplayThinking": true,
        "enableUserThinkingControl": true, "enableDisplayQueryMetadata": true, "enableShareConversation": true,
        "enableLocation": true, "enableShowPoweredBy": false, "enableAnonymous": false,
        "enableDisplayPreviousConversation": true, "enableDisplayConversationHistory": true,
        "enableConversationTimer": true, "enableAutoNewConversationOnTimeout": true, "enableThemeModeToggle": true,
        "enableDisplayFontSizeSwitch": true, "enableDownloadCitations": true, "enableDisplayChatbotAvatar": false,
        "enableDisplayChatbotName": false, "enableVoiceAgent": true,
    });
    let web_chat = made(&owner, &app.chatbot(), body.clone()).await;
    let path = format!("web-chats/{}/", web_chat["id"].as_str().unwrap());
    let shown_otherwise = ["logo", "greeting", "conversationStarters", "allowedOrigins", "customDomain", "signAuth"];
    for (field, value) in body.as_object().unwrap() {
        if !shown_otherwise.contains(&field.as_str())
            && !["unknownField", "organization", "id"].contains(&field.as_str())
        {
            assert_eq!(&web_chat[field], value, "{field}");
        }
    }
    assert_eq!(web_chat["displayGreeting"], "您好");
    assert_eq!(web_chat["displayConversationStarters"], json!(["營業時間？", "退貨"]));
    assert_eq!(web_chat["allowedOrigins"], json!(["https://www.example.com", "http://localhost:5173"]));
    assert_eq!(web_chat["customDomain"]["domain"], "chat.xn--ubtq9x.example.tw");
    assert_eq!(web_chat["customDomain"]["status"], "pending");
    let sign_auth = &web_chat["inbox"]["signAuth"];
    assert_eq!(sign_auth["signSource"]["accessType"], "keycloak");
    assert_eq!(sign_auth["signParams"], json!({"keycloak": {"url": "example.com", "realm": "r", "clientId": "c"}}));
    assert!(sign_auth["id"].is_string() && sign_auth["signSource"]["id"].is_string());
    assert_eq!(app.nobody().get(web_chat["logo"].as_str().unwrap()).await.expect(200).body.len(), 12);

    // What was read can be written again, and changes nothing but the time.
    let mut again = owner.put(&path, &web_chat).await.body_of(200);
    again["updatedAt"] = web_chat["updatedAt"].clone();
    assert_eq!(again, web_chat);
    // Absent fields stay, also within a theme; null clears what may be empty.
    let part = json!({"theme": {"primary_color": "black"}, "logo": null, "customDomain": null, "signAuth": null,
        "greeting": null, "dailyReplyLimit": null, "enable_display_tool_results": false});
    let changed = owner.patch(&path, &part).await.body_of(200);
    assert_eq!(changed["theme"]["primaryColor"], "black");
    assert_eq!(changed["theme"]["dialogColor"], "#DDEAF6");
    for field in ["logo", "customDomain", "displayGreeting", "dailyReplyLimit"] {
        assert!(changed[field].is_null(), "{field}");
    }
    assert!(changed["inbox"]["signAuth"].is_null());
    assert_eq!((&changed["toolDisplayMode"], &changed["enableDisplayToolResults"]), (&json!("hidden"), &json!(false)));
    assert_eq!((&changed["name"], &changed["conversationTimerDuration"]), (&json!("客服"), &json!(60)));
    let shown = owner.patch(&path, &json!({"enableDisplayToolResults": true})).await.body_of(200);
    assert_eq!(shown["toolDisplayMode"], "full");
    let both = json!({"enableDisplayToolResults": true, "toolDisplayMode": "hidden"});
    assert_eq!(owner.patch(&path, &both).await.body_of(200)["toolDisplayMode"], "hidden");
}

/// Notes that a domain was proved.
async fn prove(app: &TestApp, domain: &Value) {
    let (tenant, now) = (app.tenant, app.app.now());
    let id = parlance_domain::Id::parse(domain.as_str().unwrap()).unwrap();
    let proved = app.app.db.write(tenant, move |tx| {
        Box::pin(async move { parlance_storage::domain_checks::record(tx, tenant, id, ("verified", None), now).await })
    });
    assert!(proved.await.unwrap());
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table of fields")]
async fn each_wrong_field_is_named() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let mut web_chat = made(&owner, &app.chatbot(), json!({"customDomain": {"domain": "taken.example.com"}})).await;
    let path = format!("web-chats/{}/", web_chat["id"].as_str().unwrap());
    let other = owner.get("web-chats/").await.body_of(200)[1]["id"].as_str().unwrap().to_owned();
    let own_address = format!("{}media/x.png", app.url);
    for (body, pointer) in [
        (json!({"name": " "}), "/name/0"),
        (json!({"name": "x".repeat(256)}), "/name/0"),
        (json!({"chatbot": "unknown"}), "/chatbot/0"),
        (json!({"chatbot": crate::world::UNKNOWN}), "/chatbot/0"),
        (json!({"theme": {"primaryColor": "blurple"}}), "/theme/primaryColor/0"),
        (json!({"theme": {"primaryColor": "red; background: url(//x)"}}), "/theme/primaryColor/0"),
        (json!({"darkTheme": {"dialogColor": " ".repeat(32)}}), "/darkTheme/dialogColor/0"),
        (json!({"darkTheme": {"userMessageGradientEnabled": "yes"}}), "/darkTheme/userMessageGradientEnabled/0"),
        (json!({"theme": 1}), "/theme/0"),
        (json!({"avatar": "http://www.example.com/a.png"}), "/avatar/0"),
        (json!({"avatar": "javascript:alert(1)"}), "/avatar/0"),
        (json!({"logo": "media/unknown.png"}), "/logo/0"),
        (json!({"cover": own_address}), "/cover/0"),
        (json!({"buttonIcon": crate::world::UNKNOWN}), "/buttonIcon/0"),
        (json!({"poweredByLogo": "file:///etc/passwd"}), "/poweredByLogo/0"),
        (json!({"backUrl": "javascript:alert(1)"}), "/backUrl/0"),
        (json!({"backUrl": format!("https://x.example/{}", "x".repeat(255))}), "/backUrl/0"),
        (json!({"toolDisplayMode": "half"}), "/toolDisplayMode/0"),
        (json!({"defaultThemeMode": "blue"}), "/defaultThemeMode/0"),
        (json!({"conversationTimerDuration": 2}), "/conversationTimerDuration/0"),
        (json!({"conversationTimerDuration": 61}), "/conversationTimerDuration/0"),
        (json!({"conversationTimerDuration": "ten"}), "/conversationTimerDuration/0"),
        (json!({"enableVoiceAgent": "yes"}), "/enableVoiceAgent/0"),
        (json!({"accessType": "api"}), "/accessType/0"),
        (json!({"conversationStarters": ["a", " "]}), "/conversationStarters/1/0"),
        (json!({"conversationStarters": vec!["a"; 21]}), "/conversationStarters/0"),
        (json!({"allowedOrigins": ["https://a.example", "*"]}), "/allowedOrigins/1/0"),
        (json!({"allowedOrigins": ["null"]}), "/allowedOrigins/0/0"),
        (json!({"allowedOrigins": ["https://a.example/path"]}), "/allowedOrigins/0/0"),
        (json!({"customDomain": {}}), "/customDomain/domain/0"),
        (json!({"customDomain": {"domain": "localhost"}}), "/customDomain/domain/0"),
        (json!({"customDomain": {"domain": "10.0.0.1"}}), "/customDomain/domain/0"),
        (json!({"customDomain": {"domain": "0x7f.1"}}), "/customDomain/domain/0"),
        (json!({"customDomain": {"domain": "a.example/x"}}), "/customDomain/domain/0"),
        (json!({"customDomain": {"domain": "-a.example"}}), "/customDomain/domain/0"),
        (json!({"customDomain": {"domain": "a_b.example"}}), "/customDomain/domain/0"),
        (json!({"dailyReplyLimit": -1}), "/dailyReplyLimit/0"),
        (json!({"dailyTokenLimit": "x"}), "/dailyTokenLimit/0"),
        (json!({"signAuth": {}}), "/signAuth/signParams/0"),
        (json!({"signAuth": {"signParams": {"saml": {}}}}), "/signAuth/signSource/accessType/0"),
        (json!({"signAuth": {"signParams": {"line": {"liffId": ""}}}}), "/signAuth/signParams/line/liffId/0"),
        (
            json!({"signAuth": {"signParams": {"keycloak": {"url": "javascript:1", "realm": "r", "clientId": "c"}}}}),
            "/signAuth/signParams/keycloak/url/0",
        ),
    ] {
        let refused = owner.patch(&path, &body).await.body_of(400);
        assert!(refused.pointer(pointer).is_some_and(Value::is_string), "{body} -> {refused}");
    }
    // A domain that another web chat has proved, of whichever organisation.
    prove(&app, &web_chat["customDomain"]["id"]).await;
    web_chat["customDomain"]["status"] = json!("verified");
    let domain = json!({"customDomain": {"domain": "taken.example.com"}});
    let refused = owner.patch(&format!("web-chats/{other}/"), &domain).await.body_of(400);
    assert!(refused["customDomain"]["domain"].is_array(), "{refused}");
    let foreign = app.other_organisation().await;
    let bot = foreign.make("chatbots/", &json!({"name": "Other"})).await;
    let mut body = smallest();
    body.as_object_mut().unwrap().extend(domain.as_object().unwrap().clone());
    let refused = foreign.post("web-chats/", &body).await.body_of(400);
    assert!(refused["customDomain"]["domain"].is_array(), "{refused}");
    // Another organisation's things in a body.
    let upload = owner.upload("web-chat", "a.png", b"png").await;
    let stolen = owner.patch(&path, &json!({"logo": upload})).await.body_of(200)["logo"].clone();
    for body in [json!({"logo": upload}), json!({"logo": stolen}), json!({"chatbot": app.chatbot()})] {
        let web_chat = made(&foreign, &bot, json!({})).await["id"].as_str().unwrap().to_owned();
        foreign.patch(&format!("web-chats/{web_chat}/"), &body).await.expect(400).json();
    }

    let required = json!({"theme": ["This field is required."], "darkTheme": ["This field is required."]});
    assert_eq!(owner.post("web-chats/", &json!({})).await.body_of(400), required);
    assert_eq!(owner.put(&path, &json!({"name": "x", "theme": null})).await.body_of(400), required);
    let mut left = owner.get(&path).await.body_of(200);
    left["logo"] = Value::Null;
    left["updatedAt"] = web_chat["updatedAt"].clone();
    assert_eq!(left, web_chat, "nothing of that was stored");
    owner.make("chatbots/", &json!({"name": "Second"})).await;
    let refused = owner.post("web-chats/", &smallest()).await.body_of(400);
    assert!(refused["chatbot"].is_array(), "which of the two is meant? {refused}");
}

#[tokio::test]
async fn colours_that_cannot_be_read_are_reported() {
    let app = TestApp::start().await;
    let dark = json!({"userMessageTextColor": "#777", "userMessageBackgroundColor": "#888"});
    let web_chat = made(&app.owner(), &app.chatbot(), json!({"darkTheme": dark})).await;
    let warnings = web_chat["themeWarnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!((&warnings[0]["theme"], &warnings[0]["text"]), (&json!("darkTheme"), &json!("userMessageTextColor")));
    assert_eq!(
        (&warnings[0]["background"], &warnings[0]["minimum"]),
        (&json!("userMessageBackgroundColor"), &json!(4.5))
    );
    assert!(warnings[0]["ratio"].as_f64().unwrap() < 1.3, "{warnings:?}");
}

#[tokio::test]
async fn everybody_sees_what_the_page_needs_and_no_more() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let secret = json!({
        "name": "Public name", "isActive": false, "allowedOrigins": ["https://canary-origin.example"],
        "customDomain": {"domain": "canary-domain.example"}, "dailyReplyLimit": 987_654, "dailyTokenLimit": 987_655,
        "signAuth": {"signParams": {"ad": {"saml": "canary-saml"}}},
    });
    let web_chat = made(&owner, &app.chatbot(), secret).await;
    let path = format!("web-chats/{}/", web_chat["id"].as_str().unwrap());
    let public = app.nobody().get(&path).await;
    let text = public.text();
    let public = public.body_of(200);
    for field in [
        "chatbot",
        "inbox",
        "allowedOrigins",
        "customDomain",
        "dailyReplyLimit",
        "dailyTokenLimit",
        "themeWarnings",
        "createdAt",
        "updatedAt",
    ] {
        assert!(public.get(field).is_none(), "{field}");
        assert!(web_chat.get(field).is_some(), "{field}");
    }
    assert!(!text.contains("canary") && !text.contains("98765"), "{text}");
    assert!(!text.contains(&app.tenant.organisation().to_string()), "{text}");
    // A closed page is shown as closed, so that it can say so.
    assert_eq!((&public["isActive"], &public["name"]), (&json!(false), &json!("Public name")));
    for (field, value) in public.as_object().unwrap() {
        assert_eq!(value, &web_chat[field], "{field}");
    }
    let bot = owner.get(&format!("chatbots/{}/", app.chatbot())).await.body_of(200);
    for hidden in [bot["apiWebChatId"].as_str().unwrap(), crate::world::UNKNOWN, "1"] {
        let answer = app.nobody().get(&format!("web-chats/{hidden}/")).await.body_of(404);
        assert_eq!(answer, json!({"detail": "Not found.", "code": "not_found"}));
    }
    for header in ["", "Bearer x", "Api-Key x", "Visitor x"] {
        app.with_header(header).get(&path).await.expect(401).json();
    }
    app.nobody().get("web-chats/").await.expect(401).json();
    app.nobody().delete(&path).await.expect(401).json();
}

#[tokio::test]
async fn a_web_chat_that_moves_takes_its_limits_along_at_once() {
    let app = TestApp::start().await;
    let owner = app.owner();
    app.know(&[("returns.txt", "Goods can be returned within seven days.")]).await;
    let other = owner.make("chatbots/", &json!({"name": "Other", "knowledgeBases": [{"id": app.base()}]})).await;
    let web_chat = made(&owner, &app.chatbot(), json!({})).await;
    let (path, inbox) = (web_chat["id"].as_str().unwrap(), web_chat["inbox"]["id"].as_str().unwrap());
    let nothing = json!({"queryMetadata": {"knowledge_bases": []}});
    owner.patch(&format!("inboxes/{inbox}/"), &nothing).await.expect(200).json();
    let cited = async || {
        let body = json!({"message": {"content": "Within how many days can goods be returned?"}});
        let answer = owner.post(&format!("web-chats/{path}/completions/"), &body).await.body_of(200);
        answer["citations"].as_array().unwrap().len()
    };
    assert_eq!(cited().await, 0);
    // The other assistant's plan is remembered from now on.
    let question = "Within how many days can goods be returned?";
    assert_eq!(owner.ask(&other, question).await["citations"].as_array().unwrap().len(), 1);
    owner.patch(&format!("web-chats/{path}/"), &json!({"chatbot": other})).await.expect(200).json();
    assert_eq!(cited().await, 0);
}

#[tokio::test]
async fn what_the_pages_of_a_removed_assistant_showed_is_let_go() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let bot = owner.make("chatbots/", &json!({"name": "Short-lived"})).await;
    let (own, shared) =
        (owner.upload("web-chat", "a.png", b"own").await, owner.upload("web-chat", "b.png", b"two").await);
    made(&owner, &bot, json!({"logo": own, "avatar": shared})).await;
    made(&owner, &app.chatbot(), json!({"logo": shared})).await;
    owner.delete(&format!("chatbots/{bot}/")).await.expect(204);
    assert_eq!(parlance_service::uploads::sweep(&app.app).await.unwrap(), 1);
    assert!(app.app.blobs.read(&own, 9).await.unwrap().is_none());
    assert!(app.app.blobs.read(&shared, 9).await.unwrap().is_some(), "another page shows it");
}
