//! Version 1 of the API: one file per noun.

pub(crate) mod attachments;
pub(crate) mod chatbots;
pub(crate) mod citations;
pub(crate) mod completions;
pub(crate) mod conversations;
pub(crate) mod faqs;
pub(crate) mod files;
pub(crate) mod knowledge_bases;
pub(crate) mod labels;
pub(crate) mod media;
pub(crate) mod message_view;
pub(crate) mod messages;
pub(crate) mod models;
pub(crate) mod parsers;
pub(crate) mod providers;
pub(crate) mod sent_messages;
pub(crate) mod text_nodes;
pub(crate) mod tools;
pub(crate) mod uploads;
pub(crate) mod web_chat_fields;
pub(crate) mod web_chats;
pub(crate) mod webhooks;
