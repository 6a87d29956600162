//! Uploads and knowledge, the way a client makes them.

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::actor::Actor;
use crate::answer::Answer;
use crate::app::TestApp;

impl Actor {
    /// Asks for an upload form.
    pub async fn presign(&self, model_name: &str, filename: &str, size: usize) -> Value {
        let body = json!({"filename": filename, "modelName": model_name, "fieldName": "file", "fileSize": size});
        self.post("upload-presigned-url/", &body).await.body_of(200)
    }

    /// Posts an upload form: its fields, then the file, without a credential.
    pub async fn post_form(&self, form: &Value, filename: &str, bytes: &[u8]) -> Answer {
        let fields = form["fields"].as_object().cloned().unwrap_or_default();
        let mut body = Form::new();
        for (name, value) in fields {
            body = body.text(name, value.as_str().unwrap_or_default().to_owned());
        }
        let body = body.part("file", Part::bytes(bytes.to_vec()).file_name(filename.to_owned()));
        let url = form["url"].as_str().unwrap_or_default();
        self.send(self.client.post(url).multipart(body)).await
    }

    /// Uploads bytes and gives their key.
    ///
    /// # Panics
    /// When the upload is refused.
    pub async fn upload(&self, model_name: &str, filename: &str, bytes: &[u8]) -> String {
        let form = self.presign(model_name, filename, bytes.len()).await;
        let answer = self.post_form(&form, filename, bytes).await.expect(204);
        assert!(answer.body.is_empty());
        form["fields"]["key"].as_str().unwrap_or_default().to_owned()
    }

    /// Adds a file to a knowledge base; it is ingested by [`TestApp::run_jobs`]. Gives its id.
    pub async fn add_file(&self, base: &str, filename: &str, text: &str) -> String {
        let key = self.upload("chatbot-file", filename, text.as_bytes()).await;
        let body = json!({"files": [{"file": key, "filename": filename}]});
        let files = self.post(&format!("knowledge-bases/{base}/files/"), &body).await.body_of(201);
        files[0]["id"].as_str().unwrap_or_default().to_owned()
    }

    /// Makes something and gives its id.
    pub async fn make(&self, path: &str, body: &Value) -> String {
        let made = self.post(path, body).await.body_of(201);
        made["id"].as_str().unwrap_or_default().to_owned()
    }

    /// The texts that a search of a knowledge base finds, best first.
    pub async fn found(&self, base: &str, query: &str) -> Vec<String> {
        let path = format!("knowledge-bases/{base}/search/");
        let hits = self.post(&path, &json!({"query": query})).await.body_of(200);
        let texts = hits.as_array().cloned().unwrap_or_default();
        texts.iter().map(|hit| hit["text"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

impl TestApp {
    /// Fills the first knowledge base, whose assistant is the first chatbot, and waits until the
    /// files are searchable. Gives the ids of the files.
    ///
    /// # Panics
    /// When a file is not ingested.
    pub async fn know(&self, files: &[(&str, &str)]) -> Vec<String> {
        let owner = self.owner();
        let base = self.base();
        let mut ids = Vec::with_capacity(files.len());
        for (filename, text) in files {
            ids.push(owner.add_file(&base, filename, text).await);
        }
        self.run_jobs().await;
        for id in &ids {
            let file = owner.get(&format!("knowledge-bases/{base}/files/{id}/")).await.body_of(200);
            assert_eq!(file["status"], "done", "{file}");
        }
        ids
    }

    /// Id of the first knowledge base.
    pub fn base(&self) -> String {
        self.first.knowledge_base.to_string()
    }

    /// Id of the first chatbot.
    pub fn chatbot(&self) -> String {
        self.first.chatbot.to_string()
    }
}
