//! One of everything, for the first of the two organisations of a [`World`].

use futures_util::future::BoxFuture;
use parlance_domain::kind::{
    ApiKeyId, AttachmentId, ChatbotId, ContactId, ConversationId, FileId, InboxId, JobId, KnowledgeBaseId, MessageId,
    ModelId, ProviderId, RecordId, ToolId, UserId, WebChatId, WebhookDeliveryId,
};
use parlance_domain::{Result, Tenant};
use parlance_storage::api_keys::ApiKey;
use parlance_storage::attachments::Attachment;
use parlance_storage::chatbots::Chatbot;
use parlance_storage::contact_credentials::ContactCredential;
use parlance_storage::contacts::Contact;
use parlance_storage::conversation_terms::Terms;
use parlance_storage::conversations::Conversation;
use parlance_storage::faqs::Faq;
use parlance_storage::files::File;
use parlance_storage::inboxes::Inbox;
use parlance_storage::index_changes::{self, IndexChange};
use parlance_storage::jobs::NewJob;
use parlance_storage::knowledge_bases::KnowledgeBase;
use parlance_storage::labels::Label;
use parlance_storage::messages::Message;
use parlance_storage::organisations::User;
use parlance_storage::passages::NewPassage;
use parlance_storage::providers::{Model, Provider};
use parlance_storage::records::Record;
use parlance_storage::replies::Reply;
use parlance_storage::tools::Tool;
use parlance_storage::uploads::Upload;
use parlance_storage::web_chats::WebChat;
use parlance_storage::webhooks::{Attempt, Delivery};
use parlance_storage::{
    Tx, api_keys, attachments, chatbots, contact_credentials, contacts, conversations, faqs, files, inboxes, jobs,
    knowledge_bases, labels, messages, organisations, passages, providers, records, replies, tools, uploads, web_chats,
    webhooks,
};

pub(crate) use crate::database::{NOW, World, id, later, postgres_tables, read, scopes, write};
use crate::{members, request_rows};

impl World {
    /// Makes one of everything for [`World::tenant`].
    pub(crate) async fn fill(&self) -> Things {
        // On the heap: the futures of all tests would hold it several times.
        let things = Box::new(Things::new());
        let (tenant, kept) = (self.tenant, things.clone());
        self.db.write(tenant, move |tx| insert_all(tx, tenant, kept)).await.unwrap();
        *things
    }
}

/// One of everything, which belong together.
#[derive(Clone)]
pub(crate) struct Things {
    pub(crate) user: User,
    pub(crate) key: ApiKey,
    pub(crate) provider: Provider,
    pub(crate) model: Model,
    pub(crate) base: KnowledgeBase,
    pub(crate) chatbot: Chatbot,
    pub(crate) file: File,
    pub(crate) passages: Vec<NewPassage>,
    pub(crate) label: Label,
    pub(crate) faq: Faq,
    pub(crate) change: IndexChange,
    pub(crate) upload: Upload,
    pub(crate) web_chat: WebChat,
    pub(crate) inbox: Inbox,
    pub(crate) contact: Contact,
    pub(crate) tool: Tool,
    pub(crate) credential: ContactCredential,
    pub(crate) conversation: Conversation,
    pub(crate) question: Message,
    pub(crate) answer: Message,
    pub(crate) attachment: Attachment,
    pub(crate) record: Record,
    pub(crate) job: NewJob<'static>,
    pub(crate) reply: Reply,
    pub(crate) delivery: Delivery,
    pub(crate) attempt: Attempt,
}

impl Things {
    #[expect(clippy::too_many_lines, reason = "a list of values")]
    pub(crate) fn new() -> Self {
        let (user, key, provider, model): (UserId, ApiKeyId, ProviderId, ModelId) = (id(), id(), id(), id());
        let (base, chatbot, file): (KnowledgeBaseId, ChatbotId, FileId) = (id(), id(), id());
        let (web_chat, inbox, contact): (WebChatId, InboxId, ContactId) = (id(), id(), id());
        let conversation: ConversationId = id();
        let tool: ToolId = id();
        let (question, answer): (MessageId, MessageId) = (id(), id());
        let (attachment, record, job): (AttachmentId, RecordId, JobId) = (id(), id(), id());
        let delivery: WebhookDeliveryId = id();
        let blob_key = format!("media/{file}.pdf");
        let message = Message {
            query_metadata: Some("{\"a\":1}".into()),
            ..Message::plain((question, conversation), Some(contact), "保固多久？".into(), NOW)
        };
        Self {
            user: User { id: user, name: "Owner".into(), role: "owner".into(), created_at: NOW },
            key: ApiKey {
                id: key,
                organisation: id(),
                user_id: user,
                name: "default".into(),
                key_hash: format!("hash of {key}"),
                scopes: "*".into(),
                created_at: NOW,
                expires_at: Some(later(1000)),
                revoked_at: None,
            },
            provider: Provider {
                id: provider,
                name: "Provider".into(),
                kind: "openai".into(),
                base_url: "https://models.example/v1".into(),
                api_key_sealed: Some(vec![0, 1, 255]),
                created_at: NOW,
                updated_at: NOW,
            },
            model: Model {
                id: model,
                provider_id: provider,
                role: "chat".into(),
                name: "large".into(),
                dimensions: Some(1024),
                sees_images: true,
                is_default: false,
                created_at: NOW,
            },
            base: KnowledgeBase {
                id: base,
                name: "Handbook 100%".into(),
                name_folded: "handbook 100%".into(),
                description: String::new(),
                embedding_model_id: Some(model),
                reranker_model_id: None,
                retrieved_chunks: 8,
                sentence_window_size: 2,
                enable_hyde: false,
                similarity_cutoff: 0.25,
                enable_rerank: true,
                created_at: NOW,
                updated_at: NOW,
            },
            chatbot: Chatbot {
                id: chatbot,
                name: "Ähnlich".into(),
                name_folded: "ähnlich".into(),
                model_id: Some(model),
                instructions: "Answer.".into(),
                retrieved_chunks: None,
                webhook_url: None,
                reply_mode: "normal".into(),
                enable_evaluation: true,
                settings: "{}".into(),
                created_at: NOW,
                updated_at: NOW,
            },
            file: File {
                id: file,
                organisation: id(),
                knowledge_base_id: base,
                filename: "Guide_1.PDF".into(),
                filename_folded: "guide_1.pdf".into(),
                file_type: "pdf".into(),
                size: 12,
                blob_key: blob_key.clone(),
                status: "initial".into(),
                stage: "waiting".into(),
                progress_done: 0,
                progress_total: 0,
                failure: None,
                parser_id: id(),
                embedding_model_id: None,
                generation: 0,
                next_generation: 1,
                characters: 0,
                passages_count: 0,
                raw_metadata: None,
                created_at: NOW,
                updated_at: NOW,
            },
            passages: (0..3).map(|ordinal| passage(ordinal, "保固一年")).collect(),
            label: crate::faqs::label(base, "Public"),
            faq: crate::faqs::faq(base, "Warranty?", "One year."),
            change: IndexChange {
                id: id(),
                organisation: id(),
                kind: index_changes::PUT.into(),
                knowledge_base_id: base,
                file_id: Some(file),
                faq_id: None,
                generation: 1,
                embedding_model_id: Some(model),
                attempts: 0,
                created_at: NOW,
            },
            upload: Upload {
                id: id(),
                blob_key: blob_key.clone(),
                filename: "Guide_1.PDF".into(),
                size: 12,
                created_at: NOW,
            },
            web_chat: crate::web_chats::hidden(web_chat, chatbot),
            inbox: Inbox::of_web_chat(inbox, ("API".into(), "api".into()), (web_chat, chatbot), NOW),
            contact: Contact {
                id: contact,
                name: "Visitor".into(),
                name_folded: "visitor".into(),
                avatar: None,
                phone_number: None,
                email: None,
                source_id: Some("visitor-1".into()),
                query_metadata: None,
                created_at: NOW,
                updated_at: NOW,
            },
            tool: Tool {
                id: tool,
                name: "weather".into(),
                display_name: "天氣 100%".into(),
                names_folded: "weather 天气 100%".into(),
                description: "Tells the weather.".into(),
                prompt: String::new(),
                tool_type: "api".into(),
                url: "https://weather.example/v1".into(),
                http_method: "GET".into(),
                raw_parameters_schema: Some("{}".into()),
                mcp_allowed_tools: "[]".into(),
                header_names: "[\"X-Key\"]".into(),
                headers_sealed: Some(vec![7, 0, 255]),
                env_names: "[]".into(),
                env_sealed: None,
                created_at: NOW,
                updated_at: NOW,
            },
            credential: ContactCredential {
                id: id(),
                contact_id: contact,
                tool_id: tool,
                headers_sealed: vec![1, 2, 3],
                created_at: NOW,
                updated_at: NOW,
            },
            conversation: Conversation {
                id: conversation,
                inbox_id: inbox,
                contact_id: contact,
                title: String::new(),
                title_folded: String::new(),
                auto_reply_enabled: true,
                is_group_chat: false,
                enable_group_mention: false,
                unread_count: 0,
                last_read_at: None,
                created_at: NOW,
                last_message_at: None,
                last_activity_at: NOW,
            },
            answer: Message {
                id: answer,
                contact_id: None,
                kind: "outgoing".into(),
                state: "generating".into(),
                content: String::new(),
                query_metadata: None,
                created_at: later(1),
                ..message.clone()
            },
            question: message,
            attachment: Attachment {
                id: attachment,
                conversation_id: Some(conversation),
                kind: "image".into(),
                filename: "photo.png".into(),
                media_type: "image/png".into(),
                size: 3,
                blob_key: "media/photo.png".into(),
                created_at: NOW,
            },
            record: Record {
                id: record,
                chatbot_id: chatbot,
                conversation_id: conversation,
                message_id: answer,
                channel: "api".into(),
                sender_name: "Visitor".into(),
                model_id: model.to_string(),
                model_name: "large".into(),
                model_provider: "openai".into(),
                input_message: "保固多久？".into(),
                condensed_message: "保固".into(),
                output_message: "一年".into(),
                citation_nodes: "[]".into(),
                words_count: 7,
                tokens: "{}".into(),
                processing_time: "{}".into(),
                reply_millis: 120,
                error: None,
                created_at: NOW,
            },
            job: NewJob {
                id: job,
                kind: "ingest",
                unique_key: format!("ingest:{file}"),
                payload: "{}".into(),
                run_at: NOW,
            },
            reply: Reply {
                message_id: question,
                conversation_id: conversation,
                answer_id: id(),
                is_waiting: true,
                created_at: NOW,
            },
            delivery: Delivery {
                id: delivery,
                chatbot_id: chatbot,
                message_id: answer,
                url: "https://hooks.example/a".into(),
                body: "{\"type\":\"outgoing\"}".into(),
                status: "pending".into(),
                attempts: 0,
                is_redelivery: false,
                next_attempt_at: NOW,
                created_at: NOW,
            },
            attempt: Attempt {
                id: id(),
                delivery_id: delivery,
                chatbot_id: chatbot,
                url: "https://hooks.example/a".into(),
                status_code: Some(503),
                response: "HTTP 503".into(),
                duration_millis: 12,
                created_at: NOW,
            },
        }
    }
}

/// A passage to store.
pub(crate) fn passage(ordinal: i64, text: &str) -> NewPassage {
    NewPassage {
        id: id(),
        ordinal,
        text: text.into(),
        heading: Some("保固".into()),
        page: Some(1),
        start: ordinal * 10,
        end: ordinal * 10 + 4,
    }
}

fn insert_all(tx: &mut Tx, tenant: Tenant, all: Box<Things>) -> BoxFuture<'_, Result<()>> {
    Box::pin(async move {
        organisations::insert_user(tx, tenant, &all.user).await?;
        api_keys::upsert(tx, tenant, &all.key).await?;
        providers::upsert(tx, tenant, &all.provider).await?;
        providers::replace_models(tx, tenant, all.provider.id, std::slice::from_ref(&all.model)).await?;
        knowledge_bases::insert(tx, tenant, &all.base).await?;
        chatbots::insert(tx, tenant, &all.chatbot).await?;
        chatbots::set_knowledge_bases(tx, tenant, all.chatbot.id, &[all.base.id]).await?;
        files::insert(tx, tenant, &all.file).await?;
        passages::insert(tx, tenant, (all.base.id, all.file.id, 1), &all.passages, NOW).await?;
        files::publish(tx, tenant, all.file.id, (1, None), NOW).await?;
        labels::insert(tx, tenant, &all.label).await?;
        labels::set_of_file(tx, tenant, all.file.id, &[all.label.id]).await?;
        faqs::insert(tx, tenant, &all.faq).await?;
        labels::set_of_faq(tx, tenant, all.faq.id, &[all.label.id]).await?;
        index_changes::insert(tx, tenant, &all.change).await?;
        uploads::insert(tx, tenant, &all.upload, None).await?;
        web_chats::insert(tx, tenant, &all.web_chat).await?;
        inboxes::insert(tx, tenant, &all.inbox).await?;
        contacts::insert(tx, tenant, &all.contact, all.inbox.id).await?;
        tools::insert(tx, tenant, &all.tool).await?;
        tools::set_of_chatbot(tx, tenant, all.chatbot.id, &[all.tool.id]).await?;
        contact_credentials::upsert(tx, tenant, &all.credential).await?;
        crate::web_chats::fill(tx, tenant, all.web_chat.id, all.contact.id).await?;
        conversations::insert(tx, tenant, &all.conversation, &Terms::NONE).await?;
        messages::insert_turn(tx, tenant, &all.question, (all.answer.id, all.answer.created_at)).await?;
        attachments::insert(tx, tenant, &all.attachment).await?;
        records::insert(tx, tenant, &all.record).await?;
        jobs::enqueue(tx, tenant, &all.job, NOW).await?;
        replies::insert(tx, tenant, &all.reply).await?;
        webhooks::set_secret(tx, tenant, all.chatbot.id, (&[1, 2], later(60)), NOW).await?;
        webhooks::insert(tx, tenant, &all.delivery).await?;
        webhooks::insert_attempt(tx, tenant, &all.attempt).await?;
        members::insert(tx, tenant, all.user.id, all.chatbot.id).await?;
        request_rows::insert(tx, tenant, all.user.id, all.chatbot.id).await?;
        Ok(())
    })
}
