//! API keys made, listed and taken back on the command line.

use serde_json::json;

use crate::install::Install;

#[tokio::test]
async fn keys_are_made_with_scopes_and_an_end_and_taken_back() {
    let install = Install::new().await;
    let unstarted = install.run(&["key", "create"]);
    assert_eq!(unstarted.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unstarted.stderr).contains("run `parlance serve` once"));
    install.start().await.stop().await;

    let create = |arguments: &[&str]| {
        let made = install.run(&[&["key", "create"], arguments].concat());
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).unwrap().trim_end().to_owned()
    };
    let everything = create(&["--name", "Everything"]);
    let reader = create(&["--name", "Reader", "--scopes", "chatbots:read knowledge:read"]);
    let expired = create(&["--name", "Expired", "--days", "0"]);
    let taken_back = create(&["--name", "Taken back"]);
    let unknown = install.run(&["key", "create", "--scopes", "chatbots:fly"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("knowledge:write"), "it lists the permissions");

    let list = String::from_utf8(install.run(&["key", "list"]).stdout).unwrap();
    for key in [&everything, &reader, &expired, &taken_back] {
        assert!(!list.contains(key.as_str()));
    }
    let line = list.lines().find(|line| line.ends_with("Taken back")).unwrap();
    assert!(install.run(&["key", "revoke", line.split(' ').next().unwrap()]).status.success());
    assert_eq!(install.run(&["key", "revoke", "00000000-0000-7000-8000-000000000000"]).status.code(), Some(1));
    let list = String::from_utf8(install.run(&["key", "list"]).stdout).unwrap();
    let state = |name: &str| list.lines().find(|line| line.ends_with(name)).unwrap().split_whitespace().nth(1).unwrap();
    assert_eq!(
        [state("Owner"), state("Everything"), state("Reader"), state("Expired"), state("Taken back")],
        ["active", "active", "active", "expired", "revoked"]
    );

    let server = install.start().await;
    let owner = install.client(&server);
    let status = async |key: &str| owner.with_key(key).get("chatbots/").send().await.unwrap().status().as_u16();
    assert_eq!(status(&everything).await, 200);
    assert_eq!(status(&reader).await, 200);
    assert_eq!(status(&expired).await, 401);
    assert_eq!(status(&taken_back).await, 401);
    assert_eq!(status("").await, 401);
    let reader = owner.with_key(&reader);
    let question = json!({"message": {"content": "你好"}});
    let ask = reader.post(&format!("chatbots/{}/completions/", owner.chatbot), &question);
    assert_eq!(ask.send().await.unwrap().status(), 403);
    assert_eq!(reader.post("chatbots/", &json!({"name": "x"})).send().await.unwrap().status(), 403);
    let search = reader.post(&format!("knowledge-bases/{}/search/", owner.base), &json!({"query": "x"}));
    assert_eq!(search.send().await.unwrap().status(), 200);
}
