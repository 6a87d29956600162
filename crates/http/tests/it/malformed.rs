//! Requests no client should make: each is answered in the contract's form, none by a fault.

use parlance_testkit::{Answer, Method, TestApp};
use serde_json::{Value, json};

use crate::openapi::{document, operations};
use crate::world::UNKNOWN;

/// A refusal has a `detail`, or fields with lists of sentences.
fn check_form(answer: &Answer) {
    let status = answer.status.as_u16();
    assert!((400..500).contains(&status), "{} was answered {status} {}", answer.asked, answer.text());
    if status == 400 && answer.asked.ends_with("/setup-contact-credentials/") {
        assert!(answer.body.is_empty(), "the contract gives this answer no body");
        return;
    }
    let body = answer.json();
    let has_detail = body["detail"].is_string() && body["code"].is_string();
    let has_fields = status == 400 && (body.as_object().is_some_and(|fields| !fields.is_empty()) || body.is_array());
    assert!(has_detail || has_fields, "{} was answered {body}", answer.asked);
    assert!(answer.header("content-type").starts_with("application/json"));
    assert!(!answer.header("x-request-id").is_empty());
}

fn nested(depth: usize) -> Vec<u8> {
    [vec![b'['; depth], vec![b']'; depth]].concat()
}

#[tokio::test]
async fn bodies_that_are_none() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let mut bodies: Vec<Vec<u8>> = [
        "{", "{]", "nul", "'a'", "[1]", "\"text\"", "1", "true", "null", "1e999999", "{\"name\": 1e999999}", "{\"name\":}",
        "{\"name\": \"a\\u0000b\"}", "{\"files\": \"x\"}", "{\"message\": 5, \"query\": [], \"name\": {}, \"ids\": 3}",
        "{\"message\": {\"content\": 5}, \"query\": 7, \"name\": 1, \"file\": []}", "{\"name\": \"\\ud800\"}",
        "{\"message\": {\"content\": \"\\u0000\"}, \"query\": \"\\u0000\", \"name\": \"\\u0000\", \"file\": \"\\u0000\"}",
        "{\"message\": null, \"files\": null, \"ids\": null, \"name\": null, \"query\": null, \"kind\": null}",
        "{\"numberOfRetrievedChunks\": 99999999999999999999999, \"name\": \"x\", \"models\": 5, \"ids\": [5], \"files\": [5]}",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    bodies.push(nested(10_000));
    bodies.push(b"{\"name\": \"\xff\xfe\"}".to_vec());
    for (method, path, operation) in operations(&document()) {
        if !operation["requestBody"].is_object() {
            continue;
        }
        let target = path
            .replace("{kb}", &app.base())
            .replace("{id}", if path.contains("knowledge-bases") { app.base() } else { app.chatbot() }.as_str());
        for body in &bodies {
            let request = owner.request(Method::from_bytes(method.as_bytes()).unwrap(), &target);
            let answer = owner.send(request.header("content-type", "application/json").body(body.clone())).await;
            let text = String::from_utf8_lossy(&body[..body.len().min(60)]);
            assert!(answer.status.as_u16() < 500, "{} {text} {}", answer.asked, answer.text());
            if !answer.status.is_success() {
                check_form(&answer);
            }
        }
        let request = owner.request(Method::from_bytes(method.as_bytes()).unwrap(), &target);
        let answer = owner.send(request.header("content-type", "text/csv").body("a,b")).await;
        check_form(&answer);
        assert!([404, 415].contains(&answer.status.as_u16()), "{} {}", answer.asked, answer.text());
    }
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    let app = TestApp::start().await;
    let owner = app.owner();
    // One byte more than the limit, so that the whole request fits the buffers between.
    let start = "{\"name\": \"";
    let body = format!("{start}{}\"}}", "x".repeat((2 << 20) + 1 - start.len() - 2));
    assert_eq!(body.len(), (2 << 20) + 1);
    for path in ["chatbots/", "knowledge-bases/", "attachments/", "attachments-upload/", "model-providers/"] {
        let request = owner.request(Method::POST, path).header("content-type", "application/json");
        let answer = owner.send(request.body(body.clone())).await;
        check_form(&answer);
        assert_eq!(answer.status.as_u16(), 413, "{path}");
    }
    let long = format!("{start}{}\"}}", "x".repeat((2 << 20) - start.len() - 2));
    let request = owner.request(Method::POST, "chatbots/").header("content-type", "application/json");
    let answer = owner.send(request.body(long)).await;
    assert_eq!(answer.body_of(400)["name"], json!(["Ensure this field has no more than 255 characters."]));
}

#[tokio::test]
async fn paths_and_queries_that_are_none() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let base = app.base();
    for path in [
        "chatbots/%00/",
        "chatbots/%ff/",
        "chatbots/..%2f..%2fetc/",
        "chatbots/1/",
        "chatbots/-/",
        "nothing/",
        "/",
        "/api/",
        "/api/v1/",
        "/api/v2/chatbots/",
        "/API/v1/chatbots/",
        "chatbots//",
        "chatbots/%20/",
        &format!("chatbots/{}/", "a".repeat(5000)),
        &format!("knowledge-bases/{base}/files/x/"),
        "/media/",
        "/media/%ff",
        "/media/%00",
        "/media/../../etc/passwd",
        "/media/x?name=a&org=b&expires=c&signature=d",
        "/uploads/x",
        &format!("messages/{UNKNOWN}/stream/"),
    ] {
        let answer = owner.get(path).await;
        check_form(&answer);
        assert_eq!(answer.status.as_u16(), 404, "{path}");
    }
    for query in ["%00", "query=%00", "page=%00", "status=%00&query=x"] {
        for list in ["chatbots/".to_owned(), "knowledge-bases/".to_owned(), format!("knowledge-bases/{base}/files/")] {
            let answer = owner.get(&format!("{list}?{query}")).await;
            assert!(answer.status.as_u16() < 500);
        }
    }
    for query in [
        "%ff=%ff",
        "query=%ff%fe",
        "&&&",
        "=",
        "query",
        "query=a&query=b",
        "page_size=-1",
        "pageSize=1e3",
        "pageSize=0",
        "pageSize=99999999999999999999999",
        "unknown=1",
        "query=%25%5F%27%22;--",
        "query=_",
        "query[]=1",
        "page=1&page=1",
    ] {
        for list in ["chatbots/".to_owned(), "knowledge-bases/".to_owned(), format!("knowledge-bases/{base}/files/")] {
            let page = owner.get(&format!("{list}?{query}")).await.body_of(200);
            assert!(page["results"].is_array(), "{list}?{query}");
        }
    }
    assert_eq!(
        owner.get(&format!("knowledge-bases/{base}/search/")).await.body_of(400),
        json!({"query": ["This field is required."]})
    );
    for query in ["%00", "%ff%fe%00"] {
        let answer = owner.get(&format!("knowledge-bases/{base}/search/?query={query}")).await;
        assert_eq!(answer.body_of(400), json!({"query": ["Null characters are not allowed."]}));
    }
    // What search engines take for operators is text.
    for query in
        ["\"", "a AND", "(", "body:", "*", "~", "a^9", "[a TO", "\\", "＂", "' OR 1=1", "%", "🦆", "\u{200b}", "."]
    {
        let hits = owner.post(&format!("knowledge-bases/{base}/search/"), &json!({"query": query})).await.body_of(200);
        assert_eq!(hits, json!([]));
    }
}

#[tokio::test]
async fn methods_and_forms_that_are_none() {
    let app = TestApp::start().await;
    let owner = app.owner();
    for (method, path) in [
        ("DELETE", "chatbots/"),
        ("PATCH", "knowledge-bases/"),
        ("PUT", "upload-presigned-url/"),
        ("BREW", "chatbots/"),
    ] {
        let answer = owner.call(Method::from_bytes(method.as_bytes()).unwrap(), path, None).await;
        let expected = json!({"detail": format!("Method \"{method}\" not allowed."), "code": "method_not_allowed"});
        assert_eq!(answer.body_of(405), expected);
    }
    for (path, content_type) in [
        ("/uploads/", "application/json"),
        ("/uploads/", "multipart/form-data"),
        ("/uploads/", "multipart/form-data; boundary="),
        ("attachments/", "multipart/form-data"),
        ("attachments/", "text/plain"),
        ("/uploads/", "multipart/form-data; boundary=x"),
        ("attachments/", "multipart/form-data; boundary=x"),
    ] {
        for body in ["", "x", "--x\r\n", "--x\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\nabc"] {
            let request = owner.request(Method::POST, path).header("content-type", content_type);
            check_form(&owner.send(request.body(body)).await);
        }
    }
    let left: Vec<_> = std::fs::read_dir(app.folder().join("blobs/incoming")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn every_form_of_a_path_is_the_same() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let id = app.chatbot();
    for rest in
        [format!("chatbots/{id}"), format!("chatbots/{UNKNOWN}"), "large-language-models".into(), "parsers".into()]
    {
        let forms = ["/api", "/api/v1"].map(|prefix| ["", "/"].map(|slash| format!("{prefix}/{rest}{slash}")));
        let mut answers: Vec<(u16, Value)> = Vec::new();
        for path in forms.as_flattened() {
            let answer = owner.get(path).await;
            assert_eq!(answer.header("location"), "");
            answers.push((answer.status.as_u16(), answer.json()));
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
    for path in ["/api/chatbots", "/api/v1/chatbots", "/api/chatbots/", "/api/v1/chatbots/"] {
        assert_eq!(owner.post(path, &json!({"name": path})).await.body_of(201)["name"], path);
        assert_eq!(owner.post(path, &json!({})).await.body_of(400), json!({"name": ["This field is required."]}));
    }
    let given = owner.send(owner.request(Method::GET, "parsers/").header("x-request-id", "mine-1")).await;
    assert_eq!(given.header("x-request-id"), "mine-1");
}
