//! What remains of visitors who never wrote: nothing.

use std::sync::Arc;
use std::time::Duration;

use parlance_domain::Timestamp;
use parlance_service::forgetting;
use parlance_testkit::{ManualClock, Script, ScriptedChat, TestApp};
use serde_json::{Value, json};

use crate::visitors::{ask, hello, session, web_chat};

async fn contacts(app: &TestApp) -> Vec<String> {
    let page = app.owner().get("contacts/?pageSize=1000").await.body_of(200);
    page["results"].as_array().unwrap().iter().map(|contact| text(&contact["id"])).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn visitors_who_never_wrote_are_forgotten_after_their_sessions() {
    let clock = Arc::new(ManualClock::starting_at(Timestamp::from_millis(1_790_000_000_000)));
    let chat = Arc::new(ScriptedChat::always(Script::text(["Yes."])));
    let app = TestApp::builder().clock(&clock).chat(&chat).start().await;
    let page = web_chat(&app, json!({})).await;
    let (_, looked) = session(&app, &page).await;
    let (started, begun) = session(&app, &page).await;
    let conversation = started.post("conversations/", &json!({"webChat": page})).await.body_of(201);
    let (wrote, written) = session(&app, &page).await;
    ask(&wrote, &page, hello()).await.expect(200).json();
    // One who was begun by a program has no session that could end.
    let program = app.owner().post("conversations/", &json!({"webChat": page})).await.body_of(201);
    for _ in 0..3 {
        session(&app, &page).await;
    }
    clock.advance(Duration::from_hours(24));
    let (_, later) = session(&app, &page).await;
    clock.advance(Duration::from_hours(23));
    forgetting::forget(&app.app).await.unwrap();
    assert_eq!(contacts(&app).await.len(), 8, "their sessions ended less than a day ago");

    clock.advance(Duration::from_hours(1) + Duration::from_millis(1));
    forgetting::forget(&app.app).await.unwrap();
    let left = contacts(&app).await;
    let id = |session: &Value| text(&session["contact"]["id"]);
    for gone in [id(&looked), id(&begun)] {
        assert!(!left.contains(&gone));
    }
    for kept in [id(&written), id(&later), text(&program["contact"]["id"])] {
        assert!(left.contains(&kept), "{kept} {left:?}");
    }
    assert_eq!(left.len(), 3);
    let path = format!("conversations/{}/", text(&conversation["id"]));
    app.owner().get(&path).await.expect(404).json();
}
