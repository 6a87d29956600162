//! Somebody who makes requests.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use url::Url;

use crate::answer::Answer;
use crate::events::Events;

/// Somebody with a credential, or without one.
#[derive(Clone, Debug)]
pub struct Actor {
    pub(crate) url: Url,
    pub(crate) client: reqwest::Client,
    pub(crate) authorization: Option<String>,
}

impl Actor {
    /// A request below `/api/v1/`, or with a path of its own when it starts with a slash, or to a
    /// whole URL.
    ///
    /// # Panics
    /// When `path` makes no URL.
    #[expect(clippy::expect_used, reason = "a mistake of the test")]
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let base = self.url.join("/api/v1/").expect("a URL");
        let request = self.client.request(method, base.join(path).expect("a URL"));
        match &self.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        }
    }

    /// The actor's `Authorization` header.
    pub fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }

    /// Sends a request.
    ///
    /// # Panics
    /// When there is no answer.
    #[expect(clippy::expect_used, reason = "a test cannot go on without its answer")]
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let request = request.build().expect("a request");
        let asked = format!("{} {}", request.method(), request.url());
        let response = self.client.execute(request).await.expect("an answer");
        Answer::read(asked, response).await
    }

    /// Sends a request with a JSON body, or none.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let request = self.request(method, path);
        self.send(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    /// PUT with a JSON body.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PUT, path, Some(body)).await
    }

    /// PATCH with a JSON body.
    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PATCH, path, Some(body)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }

    /// Asks a chatbot and follows the answer.
    ///
    /// # Panics
    /// When the answer is no stream.
    pub async fn stream(&self, chatbot: &str, body: &Value) -> Events {
        self.stream_from(&format!("chatbots/{chatbot}/completions/"), body).await
    }

    /// Asks at this path and follows the answer.
    ///
    /// # Panics
    /// When the answer is no stream.
    #[expect(clippy::expect_used, reason = "a test cannot go on without its answer")]
    pub async fn stream_from(&self, path: &str, body: &Value) -> Events {
        let mut body = body.clone();
        body["isStreaming"] = json!(true);
        let request = self.request(Method::POST, path).json(&body);
        Events::of(request.send().await.expect("an answer"))
    }

    /// Follows the answer of a message from after event number `after`.
    ///
    /// # Panics
    /// When there is no stream.
    #[expect(clippy::expect_used, reason = "a test cannot go on without its answer")]
    pub async fn follow(&self, message: &str, after: u64) -> Events {
        let request = self.request(Method::GET, &format!("messages/{message}/stream/"));
        Events::of(request.header("last-event-id", after.to_string()).send().await.expect("an answer"))
    }

    /// Asks a chatbot for a whole answer.
    pub async fn ask(&self, chatbot: &str, question: &str) -> Value {
        let body = json!({"message": {"content": question}});
        self.post(&format!("chatbots/{chatbot}/completions/"), &body).await.body_of(200)
    }
}
