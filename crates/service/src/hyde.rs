//! Searching with an invented passage too.
//!
//! A question and its answer often share few words. A model writes a passage that could answer the
//! question, true or not, and passages near to that are proposed as well; only real ones are ever
//! shown, scored against the question itself. The method is `HyDE`: Gao, Ma, Lin and Callan, "Precise
//! Zero-Shot Dense Retrieval without Relevance Labels", 2022, arXiv:2212.10496.

use std::time::Duration;

use parlance_llm::{ChatMessage, ChatRequest, Role};

use crate::side_calls::Aide;

/// Time for the invented passage; the search goes on without it then.
const TIME: Duration = Duration::from_secs(8);
/// Length of the invented passage, which is about that of a real one.
const MAX_TOKENS: u32 = 250;

/// A passage that could answer the question, by a model that follows instructions. `None` when it
/// failed or took too long: that costs nothing but precision.
pub(crate) async fn passage(aide: &Aide, question: &str) -> Option<String> {
    match aide.ask(request(question), TIME).await {
        Ok(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Err(error) => {
            tracing::warn!(%error, "no passage was invented; the question alone is searched for");
            None
        }
    }
}

fn request(question: &str) -> ChatRequest {
    let system = "Write one short passage, of three sentences at most, as it could stand in a document that answers \
                  the question. Write in the language of the question. Reply with the passage alone; it is used to \
                  search and shown to nobody, so make up what you do not know.";
    let message = |role, text: &str| ChatMessage { role, text: text.to_owned(), images: Vec::new() };
    ChatRequest {
        messages: vec![message(Role::System, system), message(Role::User, question)],
        max_output_tokens: Some(MAX_TOKENS),
        json_schema: None,
        question: question.to_owned(),
        sources: Vec::new(),
    }
}
