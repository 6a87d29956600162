//! With an OpenAI-compatible model in the settings; and what becomes of the keys it takes.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::first_start::{commands, document, paste};
use crate::install::Install;
use crate::model::{Model, Speech};

fn speech() -> Speech {
    let pieces = ["手續費是", "百分之五", "[1", "]。"].map(str::to_owned).to_vec();
    Speech { pieces, pause: Duration::from_millis(5) }
}

#[tokio::test]
async fn the_script_of_the_first_start_answers_through_the_model() {
    let model = Model::start(speech()).await;
    let install = Install::new().await.set("LLM__BASE_URL", &model.url).set("LLM__MODEL", "small-model");
    let _server = install.start().await;
    let folder = tempfile::tempdir().unwrap();
    let (_, python) = commands(&install.first_start_text(), "退費的手續費是多少？");
    let asked = paste(folder.path(), &python).await;
    let output = String::from_utf8(asked.stdout).unwrap();
    assert!(asked.status.success(), "{output}\n{}", String::from_utf8_lossy(&asked.stderr));
    assert!(output.contains("手續費是百分之五[1]。"), "{output}");
    assert!(output.contains("\n[1] manual.pdf, p. 2: "), "{output}");
    let requests = model.requests();
    assert_eq!(requests.len(), 1, "one model call before the first token");
    assert!(requests[0].starts_with("POST /v1/chat/completions "), "{}", requests[0]);
    assert!(requests[0].contains("\"small-model\"") && requests[0].contains("扣除百分之五的手續費"), "{}", requests[0]);
    assert!(!requests[0].to_ascii_lowercase().contains("authorization"), "no key was set");
}

/// Places where `secret` is written in clear, in hexadecimal or in base64, below `folder`.
fn traces(folder: &Path, secret: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(traces(&path, secret));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        for (form, text) in forms(secret) {
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(format!("{form} in {}", path.display()));
            }
        }
    }
    found
}

fn forms(secret: &str) -> Vec<(&'static str, String)> {
    let hex = secret.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    // Base64 at each of the three alignments, without the characters that depend on what is around.
    let base64 = (0..3).map(|shift| {
        let padded = ["x".repeat(shift), secret.to_owned()].concat();
        let encoded = base64(padded.as_bytes());
        ("base64", encoded[4..encoded.len() - 4].to_owned())
    });
    [("text", secret.to_owned()), ("hexadecimal", hex)].into_iter().chain(base64).collect()
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number =
            chunk.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(ALPHABET[number >> (18 - 6 * place) & 63]));
        }
    }
    text
}

const MODEL_KEY: &str = "sk-canary-model-71Hq0pWz5eXuT2";
const PROVIDER_KEY: &str = "sk-canary-provider-8vR3nKd6YbLs";
const OWNER_KEY: &str = "canary-owner-0123456789-abcdefghij";

#[tokio::test]
async fn keys_reach_their_endpoint_and_no_log_or_file() {
    let model = Model::start(speech()).await;
    let tenants = Model::start(speech()).await;
    let install = Install::new()
        .await
        .set("LLM__BASE_URL", &model.url)
        .set("LLM__MODEL", "small-model")
        .set("LLM__API_KEY", MODEL_KEY)
        .set("BOOTSTRAP__API_KEY", OWNER_KEY)
        .set("OUTBOUND__ALLOW", tenants.url.trim_start_matches("http://").trim_end_matches("/v1"))
        .set("LOG__LEVEL", "trace");
    let server = install.start().await;
    let client = install.client(&server);
    assert_eq!(client.key, OWNER_KEY);
    client.learn("manual.pdf", &document("manual.pdf")).await;
    assert_eq!(client.ask("退費的手續費是多少？").await.text(), "手續費是百分之五[1]。");
    assert!(model.requests().iter().all(|request| request.contains(&format!("Bearer {MODEL_KEY}"))));

    // A provider that a tenant adds, and a chatbot that uses it.
    let provider = json!({"name": "Own", "kind": "openai", "baseUrl": tenants.url, "apiKey": PROVIDER_KEY,
        "models": [{"name": "own-model", "role": "chat", "isDefault": true}]});
    let made = client.post("model-providers/", &provider).send().await.unwrap();
    assert_eq!(made.status(), 201, "{}", made.text().await.unwrap());
    let listed = client.get("model-providers/").send().await.unwrap().text().await.unwrap();
    assert!(listed.contains("own-model") || listed.contains("Own"), "{listed}");
    let models: serde_json::Value = client.get("large-language-models/").send().await.unwrap().json().await.unwrap();
    let own = models.as_array().unwrap().iter().find(|model| model["name"] == "own-model").unwrap();
    let bot = json!({"name": "Own", "largeLanguageModel": own["id"]});
    let bot: serde_json::Value = client.post("chatbots/", &bot).send().await.unwrap().json().await.unwrap();
    let own = client.with_chatbot(bot["id"].as_str().unwrap());
    assert_eq!(own.ask("你好").await.text(), "手續費是百分之五[1]。");
    assert!(tenants.requests().iter().all(|request| request.contains(&format!("Bearer {PROVIDER_KEY}"))));
    assert!(!tenants.requests().iter().any(|request| request.contains(MODEL_KEY)));
    assert!(!model.requests().iter().any(|request| request.contains(PROVIDER_KEY)));

    // Errors must not tell them either.
    drop((model, tenants));
    let failed = client.ask("退費的手續費是多少？").await;
    assert_eq!(failed.terminal()["type"], "error");
    let answers = format!("{listed}{models}{failed:?}");
    server.stop().await;

    // The search finds what is there: this file is made to hold the owner's key.
    let shown = install.data().join("first-start.txt");
    assert_eq!(traces(&install.data(), OWNER_KEY), [format!("text in {}", shown.display())]);
    assert!(install.log().contains("TRACE"));
    std::fs::remove_file(shown).unwrap();
    for secret in [MODEL_KEY, PROVIDER_KEY, OWNER_KEY] {
        assert_eq!(traces(&install.data(), secret), Vec::<String>::new());
        for (form, text) in forms(secret) {
            assert!(!answers.contains(&text), "an answer holds a key ({form})");
            let log = install.log();
            let line = log.lines().find(|line| line.contains(&text));
            assert!(line.is_none(), "the log holds a key ({form}): {line:?}");
        }
    }
}
