//! Pages and their links.

use parlance_testkit::TestApp;
use serde_json::{Value, json};

fn names(page: &Value) -> Vec<String> {
    page["results"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn links_lead_through_all_pages_and_back() {
    let app = TestApp::start().await;
    let owner = app.owner();
    for number in 0..7 {
        owner.make("knowledge-bases/", &json!({"name": format!("Shelf {number}")})).await;
    }
    let first = owner.get("/api/knowledge-bases?page_size=3&query=shelf").await.body_of(200);
    assert_eq!(names(&first), ["Shelf 6", "Shelf 5", "Shelf 4"]);
    assert_eq!(first["previous"], Value::Null);
    let next = first["next"].as_str().unwrap();
    assert!(next.starts_with(app.url.as_str()) && next.contains("/api/knowledge-bases?"), "{next}");
    let second = owner.get(next).await.body_of(200);
    assert_eq!(names(&second), ["Shelf 3", "Shelf 2", "Shelf 1"]);
    let third = owner.get(second["next"].as_str().unwrap()).await.body_of(200);
    assert_eq!(names(&third), ["Shelf 0"]);
    assert_eq!(third["next"], Value::Null);
    let back = owner.get(third["previous"].as_str().unwrap()).await.body_of(200);
    assert_eq!(names(&back), names(&second));
    let start = owner.get(back["previous"].as_str().unwrap()).await.body_of(200);
    assert_eq!(names(&start), names(&first));
}

#[tokio::test]
async fn sizes_are_bounded_and_pages_must_exist() {
    let app = TestApp::start().await;
    let owner = app.owner();
    for number in 0..21 {
        owner.make("chatbots/", &json!({"name": format!("Bot {number}")})).await;
    }
    let size = async |query: &str| {
        let page = owner.get(&format!("chatbots/{query}")).await.body_of(200);
        assert_eq!(page["count"], 22);
        page["results"].as_array().unwrap().len()
    };
    assert_eq!(size("").await, 20);
    assert_eq!(size("?page=2").await, 2);
    assert_eq!(size("?pageSize=22").await, 22);
    assert_eq!(size("?pageSize=10000").await, 22);
    assert_eq!(size("?pageSize=9999999999999").await, 22);
    assert_eq!(size("?pageSize=99999999999999999999999999").await, 22);
    assert_eq!(size("?pageSize=0").await, 20);
    assert_eq!(size("?pageSize=x").await, 20);
    for page in ["0", "-1", "3", "x", "1.5", "99999999999999999999", "", "%31%00"] {
        let answer = owner.get(&format!("chatbots/?page={page}")).await;
        if page.contains("%00") {
            assert_eq!(answer.body_of(400), json!({"page": ["Null characters are not allowed."]}));
        } else {
            assert_eq!(answer.body_of(404), json!({"detail": "Invalid page.", "code": "not_found"}), "{page}");
        }
    }
    let empty = owner.get("chatbots/?query=nothing").await.body_of(200);
    assert_eq!(empty, json!({"count": 0, "next": null, "previous": null, "results": []}));
}
