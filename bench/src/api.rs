//! The calls that set up what is measured.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::corpus::Document;
use crate::http::Connection;
use crate::process::API_KEY;

/// Files named in one request.
const FILES_PER_REQUEST: usize = 100;
const BOUNDARY: &str = "parlance-bench-7d81f0";

/// The server's API with the owner's key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
}

impl Api {
    /// A whole HTTP request with a JSON body, below `/api/v1/`.
    pub(crate) fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Bytes {
        let body = body.map(Value::to_string).unwrap_or_default();
        Bytes::from(format!(
            "{method} /api/v1/{path} HTTP/1.1\r\nhost: {}\r\nauthorization: Api-Key {API_KEY}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        ))
    }

    /// The request for a streamed completion.
    pub(crate) fn completion(&self, chatbot: &str, question: &str) -> Bytes {
        let body = json!({"message": {"content": question}, "isStreaming": true});
        self.request("POST", &format!("chatbots/{chatbot}/completions/"), Some(&body))
    }

    /// The request for a search.
    pub(crate) fn search(&self, base: &str, question: &str) -> Bytes {
        self.request("POST", &format!("knowledge-bases/{base}/search/"), Some(&json!({"query": question})))
    }

    async fn call(&self, method: &str, path: &str, body: Option<&Value>, expected: u16) -> Result<Value> {
        let doing = || format!("{method} {path}");
        let mut connection = Connection::open(self.address).await.with_context(doing)?;
        let status = connection.send(&self.request(method, path, body)).await.with_context(doing)?;
        let answer = connection.whole_body().await.with_context(doing)?;
        if status != expected {
            let shown: String = String::from_utf8_lossy(&answer).chars().take(300).collect();
            bail!("{method} {path}: status {status} instead of {expected}: {shown}");
        }
        serde_json::from_slice(&answer).with_context(doing)
    }

    /// Makes a knowledge base; gives its id.
    pub(crate) async fn make_base(&self, name: &str) -> Result<String> {
        id_of(&self.call("POST", "knowledge-bases/", Some(&json!({"name": name})), 201).await?)
    }

    /// Makes an assistant with these bases; gives its id.
    pub(crate) async fn make_chatbot(&self, name: &str, bases: &[&str]) -> Result<String> {
        let bases: Vec<Value> = bases.iter().map(|id| json!({"id": id})).collect();
        id_of(&self.call("POST", "chatbots/", Some(&json!({"name": name, "knowledgeBases": bases})), 201).await?)
    }

    /// Makes a web chat of an assistant; gives its id.
    pub(crate) async fn make_web_chat(&self, name: &str, chatbot: &str) -> Result<String> {
        let body = json!({"name": name, "chatbot": chatbot, "theme": {}, "darkTheme": {}});
        id_of(&self.call("POST", "web-chats/", Some(&body), 201).await?)
    }

    /// The inbox of a web chat.
    pub(crate) async fn inbox_of(&self, web_chat: &str) -> Result<String> {
        let shown = self.call("GET", &format!("web-chats/{web_chat}/"), None, 200).await?;
        id_of(shown.pointer("/inbox").context("a web chat without inbox")?)
    }

    /// Begins a conversation; gives its id.
    pub(crate) async fn make_conversation(&self, web_chat: &str) -> Result<String> {
        id_of(&self.call("POST", "conversations/", Some(&json!({"webChat": web_chat})), 201).await?)
    }

    /// Switches automatic replies off.
    pub(crate) async fn take_over(&self, conversation: &str) -> Result<()> {
        let path = format!("conversations/{conversation}/update-auto-reply/");
        self.call("PATCH", &path, Some(&json!({"autoReplyEnabled": false})), 200).await.map(drop)
    }

    /// Uploads a file by a presigned form; gives its storage key.
    pub(crate) async fn upload(&self, document: &Document) -> Result<String> {
        let wanted = json!({"filename": document.name, "modelName": "chatbot-file", "fieldName": "file",
            "fileSize": document.text.len()});
        let form = self.call("POST", "upload-presigned-url/", Some(&wanted), 200).await?;
        let url = form.pointer("/url").and_then(Value::as_str).context("a form without url")?;
        let fields = form.pointer("/fields").and_then(Value::as_object).context("a form without fields")?;
        let (_, after_scheme) = url.split_once("://").context("a form with a relative url")?;
        let path = after_scheme.find('/').and_then(|start| after_scheme.get(start..)).unwrap_or("/");
        let mut parts = Vec::new();
        for (name, value) in fields {
            let value = value.as_str().context("a form field that is no text")?;
            let head = format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            parts.extend_from_slice(head.as_bytes());
        }
        let name = &document.name;
        let head = format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             content-type: text/plain\r\n\r\n"
        );
        parts.extend_from_slice(head.as_bytes());
        parts.extend_from_slice(document.text.as_bytes());
        parts.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: multipart/form-data; boundary={BOUNDARY}\r\n\
             content-length: {}\r\n\r\n",
            self.address,
            parts.len()
        )
        .into_bytes();
        request.extend(parts);
        let mut connection = Connection::open(self.address).await.context("posting a form")?;
        let status = connection.send(&request).await.context("posting a form")?;
        let answer = connection.whole_body().await.context("posting a form")?;
        if status != 204 {
            bail!("posting a form: status {status} instead of 204: {}", String::from_utf8_lossy(&answer));
        }
        let key = fields.get("key").and_then(Value::as_str).context("a form without key")?;
        Ok(key.to_owned())
    }

    /// Adds uploaded files (storage key and name) to a base.
    pub(crate) async fn add_files(&self, base: &str, uploaded: &[(String, String)]) -> Result<()> {
        for files in uploaded.chunks(FILES_PER_REQUEST) {
            let files: Vec<Value> = files.iter().map(|(key, name)| json!({"file": key, "filename": name})).collect();
            let body = json!({"files": files});
            let path = format!("knowledge-bases/{base}/files/");
            let made = self.call("POST", &path, Some(&body), 201).await?;
            let count = made.as_array().map_or(0, Vec::len);
            if count != files.len() {
                bail!("{count} files were made of {}", files.len());
            }
        }
        Ok(())
    }

    /// Waits until all `count` files of a base are done.
    pub(crate) async fn await_files(&self, base: &str, count: usize, within: Duration) -> Result<()> {
        let start = Instant::now();
        let path = format!("knowledge-bases/{base}/files/?pageSize=1000");
        loop {
            let page = self.call("GET", &path, None, 200).await?;
            let files = page.pointer("/results").and_then(Value::as_array).context("a page without results")?;
            let with = |status: &str| {
                files.iter().filter(|file| file.get("status").and_then(Value::as_str) == Some(status)).count()
            };
            if let failed @ 1.. = with("failed") {
                let shown = files.iter().find(|file| file.get("status").and_then(Value::as_str) == Some("failed"));
                bail!("{failed} of {count} files failed, one of them: {}", shown.unwrap_or(&Value::Null));
            }
            if with("done") == count {
                return Ok(());
            }
            if start.elapsed() > within {
                bail!("only {} of {count} files were done after {within:?}", with("done"));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

fn id_of(made: &Value) -> Result<String> {
    made.get("id").and_then(Value::as_str).map(str::to_owned).context("an object without id")
}
