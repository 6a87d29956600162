//! The API as a client program uses it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use reqwest::multipart::{Form, Part};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::install::Server;

/// A file that is not done after this time is stuck.
const PATIENCE: Duration = Duration::from_secs(90);

/// A client that reaches nothing but the address it is given.
pub(crate) fn http() -> reqwest::Client {
    // Another test of this process may have set it.
    drop(rustls::crypto::ring::default_provider().install_default());
    #[expect(clippy::disallowed_methods, reason = "a test may talk to its own server")]
    let builder = reqwest::Client::builder();
    builder.no_proxy().build().unwrap()
}

/// A client that trusts one authority and finds some names at addresses of the test.
pub(crate) fn http_trusting(authority: &reqwest::Certificate, names: &[(&str, SocketAddr)]) -> reqwest::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    #[expect(clippy::disallowed_methods, reason = "a test may talk to its own server")]
    let mut builder = reqwest::Client::builder();
    for (name, address) in names {
        builder = builder.resolve(name, *address);
    }
    // Each request shakes hands, so that the certificate of the moment is what is looked at.
    builder.no_proxy().pool_max_idle_per_host(0).tls_certs_only([authority.clone()]).build().unwrap()
}

/// A caller with a key.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    pub(crate) url: String,
    pub(crate) key: String,
    pub(crate) chatbot: String,
    pub(crate) base: String,
}

/// A streamed answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) events: Vec<Value>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        self.events
            .iter()
            .filter(|event| event["type"] == "text")
            .filter_map(|event| event["content"].as_str())
            .collect()
    }

    pub(crate) fn terminal(&self) -> &Value {
        let ends: Vec<_> = self.events.iter().filter(|event| event["done"] == true).collect();
        assert_eq!(ends.len(), 1, "{:?}", self.events);
        assert_eq!(Some(ends[0]), self.events.last());
        ends[0]
    }

    /// File and page of each passage cited.
    pub(crate) fn cited(&self) -> Vec<(String, Option<i64>)> {
        let nodes = self.terminal()["citationNodes"].as_array().cloned().unwrap_or_default();
        let place = |node: &Value| {
            let passage = &node["chatbotTextNode"];
            (passage["filename"].as_str().unwrap().to_owned(), passage["pageNumber"].as_i64())
        };
        nodes.iter().map(place).collect()
    }
}

impl Client {
    /// Reads key and ids out of the text that the first start shows.
    pub(crate) fn from_first_start(text: &str, url: &str) -> Self {
        let after = |mark: &str| {
            let rest = text.split_once(mark).unwrap().1;
            rest.split([' ', '\n', '"', '\'', '/']).next().unwrap().to_owned()
        };
        Self {
            http: http(),
            url: url.to_owned(),
            key: after("Api-Key "),
            chatbot: after("/chatbots/"),
            base: after("BASE, CHATBOT = \""),
        }
    }

    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// The same caller after the server started again.
    pub(crate) fn at(&self, server: &Server) -> Self {
        Self { url: server.url.clone(), ..self.clone() }
    }

    pub(crate) fn with_chatbot(&self, chatbot: &str) -> Self {
        Self { chatbot: chatbot.to_owned(), ..self.clone() }
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}/api/v1/{path}", self.url)).header("Authorization", format!("Api-Key {}", self.key))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        let request = self.http.post(format!("{}/api/v1/{path}", self.url)).json(body);
        request.header("Authorization", format!("Api-Key {}", self.key))
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> RequestBuilder {
        let request = self.http.patch(format!("{}/api/v1/{path}", self.url)).json(body);
        request.header("Authorization", format!("Api-Key {}", self.key))
    }

    /// Status of the probe at `path`, which needs no key.
    pub(crate) async fn probe(&self, path: &str) -> reqwest::Result<StatusCode> {
        Ok(self.http.get(format!("{}/{path}", self.url)).send().await?.status())
    }

    /// Uploads bytes. Gives the key to refer to them by.
    pub(crate) async fn send_bytes(&self, name: &str, bytes: &[u8]) -> reqwest::Result<String> {
        let body = json!({"filename": name, "modelName": "chatbot-file", "fieldName": "file", "fileSize": bytes.len()});
        let presigned = self.post("upload-presigned-url/", &body).send().await?.error_for_status()?;
        let presigned: Value = presigned.json().await?;
        let mut form = Form::new();
        for (name, value) in presigned["fields"].as_object().unwrap() {
            form = form.text(name.clone(), value.as_str().unwrap().to_owned());
        }
        form = form.part("file", Part::bytes(bytes.to_vec()).file_name("document"));
        self.http.post(presigned["url"].as_str().unwrap()).multipart(form).send().await?.error_for_status()?;
        Ok(presigned["fields"]["key"].as_str().unwrap().to_owned())
    }

    /// Makes uploaded bytes a file of the knowledge base. Gives its id.
    pub(crate) async fn add_file(&self, key: &str, name: &str) -> reqwest::Result<String> {
        let body = json!({"files": [{"file": key, "filename": name}]});
        let path = format!("knowledge-bases/{}/files/", self.base);
        let files: Value = self.post(&path, &body).send().await?.error_for_status()?.json().await?;
        Ok(files[0]["id"].as_str().unwrap().to_owned())
    }

    /// Uploads a document. Gives the file's id.
    pub(crate) async fn upload(&self, name: &str, bytes: &[u8]) -> String {
        let key = self.send_bytes(name, bytes).await.unwrap();
        self.add_file(&key, name).await.unwrap()
    }

    /// The files of the knowledge base, at most 1000.
    pub(crate) async fn files(&self) -> reqwest::Result<Vec<Value>> {
        let path = format!("knowledge-bases/{}/files/?pageSize=1000", self.base);
        let page: Value = self.get(&path).send().await?.error_for_status()?.json().await?;
        Ok(page["results"].as_array().unwrap().clone())
    }

    /// Waits until the file is done or failed.
    pub(crate) async fn settled(&self, id: &str) -> Value {
        let path = format!("knowledge-bases/{}/files/{id}/", self.base);
        let began = Instant::now();
        loop {
            let file: Value = self.get(&path).send().await.unwrap().error_for_status().unwrap().json().await.unwrap();
            if file["status"] == "done" || file["status"] == "failed" {
                return file;
            }
            assert!(began.elapsed() < PATIENCE, "stuck: {file}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Uploads a document that can be read and waits for it.
    pub(crate) async fn learn(&self, name: &str, bytes: &[u8]) -> Value {
        let id = self.upload(name, bytes).await;
        let file = self.settled(&id).await;
        assert_eq!(file["status"], "done", "{file}");
        file
    }

    /// The passages of a file, at most 1000.
    pub(crate) async fn passages(&self, file: &str) -> Vec<Value> {
        let path = format!("chatbot-text-nodes/?chatbotFile={file}&pageSize=1000");
        let page: Value = self.get(&path).send().await.unwrap().error_for_status().unwrap().json().await.unwrap();
        page["results"].as_array().unwrap().clone()
    }

    pub(crate) async fn search(&self, query: &str) -> Vec<Value> {
        let path = format!("knowledge-bases/{}/search/", self.base);
        let answer = self.post(&path, &json!({"query": query})).send().await.unwrap().error_for_status().unwrap();
        answer.json().await.unwrap()
    }

    /// Asks for a streamed answer.
    pub(crate) async fn begin(&self, question: &str) -> reqwest::Result<reqwest::Response> {
        let body = json!({"message": {"content": question}, "isStreaming": true});
        let path = format!("chatbots/{}/completions/", self.chatbot);
        self.post(&path, &body).send().await?.error_for_status()
    }

    /// Asks and reads the answer to its end.
    pub(crate) async fn ask(&self, question: &str) -> Answer {
        let mut answer = Answer::default();
        read_events(self.begin(question).await.unwrap(), |event| answer.events.push(event)).await.unwrap();
        answer
    }
}

/// Reads server-sent events until the stream ends; an error when it breaks off.
pub(crate) async fn read_events(response: reqwest::Response, mut receive: impl FnMut(Value)) -> reqwest::Result<()> {
    let mut bytes = response.bytes_stream();
    let mut unread = Vec::new();
    while let Some(chunk) = bytes.next().await {
        unread.extend_from_slice(&chunk?);
        while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            if let Some(event) = line.strip_prefix(b"data: ") {
                receive(serde_json::from_slice(event).unwrap());
            }
        }
    }
    Ok(())
}
