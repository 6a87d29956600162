-- Portable column types only; docs/DATABASES.md has the table of both engines.
-- Times are milliseconds since the epoch, ids are UUIDv7 as text, JSON is text kept verbatim.

CREATE TABLE installation (
    id TEXT NOT NULL PRIMARY KEY,
    created_at BIGINT NOT NULL
);

CREATE TABLE organisations (
    org_id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    time_zone TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    name TEXT NOT NULL,
    email TEXT,
    role TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    removed_at BIGINT
);
CREATE INDEX users_by_org ON users (org_id, created_at);

CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    user_id TEXT NOT NULL REFERENCES users (id),
    name TEXT NOT NULL,
    key_hash TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);

CREATE TABLE model_providers (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    base_url TEXT NOT NULL,
    api_key_sealed BLOB,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE models (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    provider_id TEXT NOT NULL REFERENCES model_providers (id) ON DELETE CASCADE,
    role TEXT NOT NULL,
    name TEXT NOT NULL,
    dimensions BIGINT,
    sees_images BOOLEAN NOT NULL,
    is_default BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX models_by_org ON models (org_id, role, created_at);

CREATE TABLE knowledge_bases (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    description TEXT NOT NULL,
    embedding_model_id TEXT,
    reranker_model_id TEXT,
    retrieved_chunks BIGINT NOT NULL,
    sentence_window_size BIGINT NOT NULL,
    enable_hyde BOOLEAN NOT NULL,
    similarity_cutoff DOUBLE PRECISION NOT NULL,
    enable_rerank BOOLEAN NOT NULL,
    -- Hidden from everybody; a job removes what it holds and then the row.
    deleting BOOLEAN NOT NULL DEFAULT FALSE,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX knowledge_bases_by_org ON knowledge_bases (org_id, created_at);

CREATE TABLE chatbots (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    model_id TEXT,
    instructions TEXT NOT NULL,
    retrieved_chunks BIGINT,
    webhook_url TEXT,
    reply_mode TEXT NOT NULL,
    enable_evaluation BOOLEAN NOT NULL,
    settings TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX chatbots_by_org ON chatbots (org_id, created_at);

CREATE TABLE groups (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    name TEXT NOT NULL,
    permissions TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX groups_by_org ON groups (org_id, created_at);

CREATE TABLE group_members (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id),
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX group_members_once ON group_members (group_id, user_id);
CREATE INDEX group_members_by_user ON group_members (user_id);

CREATE TABLE group_chatbots (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    chatbot_id TEXT NOT NULL REFERENCES chatbots (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX group_chatbots_once ON group_chatbots (group_id, chatbot_id);
CREATE INDEX group_chatbots_by_chatbot ON group_chatbots (chatbot_id);

CREATE TABLE chatbot_knowledge_bases (
    org_id TEXT NOT NULL,
    chatbot_id TEXT NOT NULL REFERENCES chatbots (id) ON DELETE CASCADE,
    knowledge_base_id TEXT NOT NULL REFERENCES knowledge_bases (id) ON DELETE CASCADE,
    PRIMARY KEY (chatbot_id, knowledge_base_id)
);
CREATE INDEX chatbot_knowledge_bases_by_base ON chatbot_knowledge_bases (knowledge_base_id);

CREATE TABLE files (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    knowledge_base_id TEXT NOT NULL REFERENCES knowledge_bases (id) ON DELETE CASCADE,
    filename TEXT NOT NULL,
    filename_folded TEXT NOT NULL,
    file_type TEXT NOT NULL,
    size BIGINT NOT NULL,
    blob_key TEXT NOT NULL,
    status TEXT NOT NULL,
    stage TEXT NOT NULL,
    progress_done BIGINT NOT NULL,
    progress_total BIGINT NOT NULL,
    failure TEXT,
    parser_id TEXT NOT NULL,
    embedding_model_id TEXT,
    generation BIGINT NOT NULL,
    next_generation BIGINT NOT NULL,
    characters BIGINT NOT NULL,
    passages_count BIGINT NOT NULL,
    raw_metadata TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX files_by_base ON files (knowledge_base_id, created_at);
CREATE INDEX files_by_org ON files (org_id);
CREATE INDEX files_by_blob ON files (blob_key);

CREATE TABLE passages (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    knowledge_base_id TEXT NOT NULL,
    file_id TEXT NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    generation BIGINT NOT NULL,
    ordinal BIGINT NOT NULL,
    text TEXT NOT NULL,
    heading TEXT,
    page BIGINT,
    start_offset BIGINT NOT NULL,
    end_offset BIGINT NOT NULL,
    characters BIGINT NOT NULL,
    hits_count BIGINT NOT NULL,
    vector BLOB,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX passages_by_file ON passages (file_id, generation, ordinal);

CREATE TABLE labels (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    knowledge_base_id TEXT NOT NULL REFERENCES knowledge_bases (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX labels_by_name ON labels (knowledge_base_id, name);

CREATE TABLE file_labels (
    org_id TEXT NOT NULL,
    label_id TEXT NOT NULL REFERENCES labels (id) ON DELETE CASCADE,
    file_id TEXT NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    PRIMARY KEY (label_id, file_id)
);
CREATE INDEX file_labels_by_file ON file_labels (file_id);

-- A question with its answer is one passage, whose id is its own.
CREATE TABLE faqs (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    knowledge_base_id TEXT NOT NULL REFERENCES knowledge_bases (id) ON DELETE CASCADE,
    question TEXT NOT NULL,
    answer TEXT NOT NULL,
    folded TEXT NOT NULL,
    raw_metadata TEXT,
    hits_count BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    vector BLOB,
    embedding_model_id TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX faqs_by_base ON faqs (knowledge_base_id, id);

CREATE TABLE faq_labels (
    org_id TEXT NOT NULL,
    label_id TEXT NOT NULL REFERENCES labels (id) ON DELETE CASCADE,
    faq_id TEXT NOT NULL REFERENCES faqs (id) ON DELETE CASCADE,
    PRIMARY KEY (label_id, faq_id)
);
CREATE INDEX faq_labels_by_faq ON faq_labels (faq_id);

-- What the search index has still to learn, in the order it happened.
CREATE TABLE index_changes (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    knowledge_base_id TEXT NOT NULL,
    file_id TEXT,
    faq_id TEXT,
    generation BIGINT NOT NULL,
    embedding_model_id TEXT,
    attempts BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

-- The number of the last batch of changes that both the database and the index have seen.
CREATE TABLE index_watermark (
    name TEXT NOT NULL PRIMARY KEY,
    batch BIGINT NOT NULL
);

CREATE TABLE uploads (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    blob_key TEXT NOT NULL UNIQUE,
    filename TEXT NOT NULL,
    size BIGINT NOT NULL,
    used_at BIGINT,
    created_at BIGINT NOT NULL
);
CREATE INDEX uploads_unused ON uploads (used_at, created_at);

CREATE TABLE web_chats (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    chatbot_id TEXT NOT NULL REFERENCES chatbots (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    access_type TEXT NOT NULL,
    settings TEXT NOT NULL,
    is_active BOOLEAN NOT NULL,
    daily_reply_limit BIGINT,
    daily_token_limit BIGINT,
    identity_secret_sealed BLOB,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX web_chats_by_chatbot ON web_chats (chatbot_id, access_type);

-- Other origins that may use a web chat, so that the origin of a request can be looked up.
CREATE TABLE web_chat_origins (
    org_id TEXT NOT NULL,
    web_chat_id TEXT NOT NULL REFERENCES web_chats (id) ON DELETE CASCADE,
    origin TEXT NOT NULL,
    PRIMARY KEY (web_chat_id, origin)
);
CREATE INDEX web_chat_origins_by_origin ON web_chat_origins (origin);

-- Uploads that a web chat shows, so that they are kept.
CREATE TABLE web_chat_files (
    org_id TEXT NOT NULL,
    web_chat_id TEXT NOT NULL REFERENCES web_chats (id) ON DELETE CASCADE,
    blob_key TEXT NOT NULL,
    PRIMARY KEY (web_chat_id, blob_key)
);
CREATE INDEX web_chat_files_by_blob ON web_chat_files (blob_key);

-- A name of the customer's own under which a web chat's page is served, once it is verified.
CREATE TABLE custom_domains (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    web_chat_id TEXT NOT NULL UNIQUE REFERENCES web_chats (id) ON DELETE CASCADE,
    domain TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    token TEXT NOT NULL,
    checked_at BIGINT,
    verified_at BIGINT,
    failure TEXT,
    created_at BIGINT NOT NULL
);

-- What a web chat's visitors have used of a day in the organisation's time zone.
CREATE TABLE web_chat_usage (
    org_id TEXT NOT NULL,
    web_chat_id TEXT NOT NULL REFERENCES web_chats (id) ON DELETE CASCADE,
    day TEXT NOT NULL,
    replies BIGINT NOT NULL,
    tokens BIGINT NOT NULL,
    PRIMARY KEY (web_chat_id, day)
);

CREATE TABLE inboxes (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    name TEXT NOT NULL,
    channel_type TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    web_chat_id TEXT REFERENCES web_chats (id) ON DELETE SET NULL,
    chatbot_id TEXT REFERENCES chatbots (id) ON DELETE SET NULL,
    auto_reply_schedules TEXT NOT NULL,
    query_metadata TEXT,
    sign_auth TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT
);
CREATE INDEX inboxes_by_org ON inboxes (org_id, created_at);
CREATE INDEX inboxes_by_web_chat ON inboxes (web_chat_id);

CREATE TABLE contacts (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    avatar TEXT,
    phone_number TEXT,
    email TEXT,
    source_id TEXT,
    query_metadata TEXT,
    details_folded TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT
);
CREATE INDEX contacts_by_org ON contacts (org_id, created_at);

-- The inboxes that a contact writes to. The source id stands here too, because it is unique within
-- an inbox; it is absent once the contact is deleted.
CREATE TABLE contact_inboxes (
    org_id TEXT NOT NULL,
    contact_id TEXT NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    inbox_id TEXT NOT NULL REFERENCES inboxes (id) ON DELETE CASCADE,
    source_id TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (contact_id, inbox_id)
);
CREATE UNIQUE INDEX contact_inboxes_by_source ON contact_inboxes (inbox_id, source_id);
CREATE INDEX contact_inboxes_by_inbox ON contact_inboxes (inbox_id, created_at);

CREATE TABLE tools (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    name TEXT NOT NULL,
    display_name TEXT NOT NULL,
    names_folded TEXT NOT NULL,
    description TEXT NOT NULL,
    prompt TEXT NOT NULL,
    tool_type TEXT NOT NULL,
    url TEXT NOT NULL,
    http_method TEXT NOT NULL,
    raw_parameters_schema TEXT,
    mcp_allowed_tools TEXT NOT NULL,
    header_names TEXT NOT NULL,
    headers_sealed BLOB,
    env_names TEXT NOT NULL,
    env_sealed BLOB,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX tools_by_org ON tools (org_id, created_at);

CREATE TABLE chatbot_tools (
    org_id TEXT NOT NULL,
    chatbot_id TEXT NOT NULL REFERENCES chatbots (id) ON DELETE CASCADE,
    tool_id TEXT NOT NULL REFERENCES tools (id) ON DELETE CASCADE,
    place BIGINT NOT NULL,
    PRIMARY KEY (chatbot_id, tool_id)
);
CREATE INDEX chatbot_tools_by_tool ON chatbot_tools (tool_id);

-- Headers with which a tool is called for one contact.
CREATE TABLE contact_credentials (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    contact_id TEXT NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    tool_id TEXT NOT NULL REFERENCES tools (id) ON DELETE CASCADE,
    headers_sealed BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX contact_credentials_by_contact ON contact_credentials (contact_id, tool_id);
CREATE INDEX contact_credentials_by_tool ON contact_credentials (tool_id);

-- A visitor of a web chat's page, whose token names this row.
CREATE TABLE visitor_sessions (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    web_chat_id TEXT NOT NULL REFERENCES web_chats (id) ON DELETE CASCADE,
    contact_id TEXT NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    is_identified BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX visitor_sessions_by_web_chat ON visitor_sessions (web_chat_id, is_identified);
CREATE INDEX visitor_sessions_by_contact ON visitor_sessions (contact_id);
CREATE INDEX visitor_sessions_by_end ON visitor_sessions (expires_at);

CREATE TABLE conversations (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    number BIGINT NOT NULL,
    inbox_id TEXT NOT NULL REFERENCES inboxes (id),
    contact_id TEXT NOT NULL REFERENCES contacts (id),
    title TEXT NOT NULL,
    title_folded TEXT NOT NULL,
    auto_reply_enabled BOOLEAN NOT NULL,
    is_group_chat BOOLEAN NOT NULL,
    enable_group_mention BOOLEAN NOT NULL,
    unread_count BIGINT NOT NULL,
    last_read_at BIGINT,
    created_at BIGINT NOT NULL,
    last_message_at BIGINT,
    last_activity_at BIGINT NOT NULL
);
CREATE INDEX conversations_by_inbox ON conversations (inbox_id, last_activity_at, id);
CREATE INDEX conversations_by_org ON conversations (org_id, last_activity_at, id);
CREATE INDEX conversations_by_contact ON conversations (contact_id, last_activity_at, id);
CREATE UNIQUE INDEX conversations_by_number ON conversations (number);
CREATE INDEX conversations_unread ON conversations (inbox_id) WHERE unread_count > 0;

CREATE TABLE messages (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    contact_id TEXT,
    user_id TEXT,
    type TEXT NOT NULL,
    state TEXT NOT NULL,
    content TEXT NOT NULL,
    content_payload TEXT,
    query_metadata TEXT,
    attachments TEXT NOT NULL,
    citations TEXT NOT NULL,
    canvas TEXT,
    feedback_id TEXT,
    feedback_type TEXT,
    feedback_suggestion TEXT,
    feedback_at BIGINT,
    error TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX messages_by_conversation ON messages (conversation_id, created_at, id);
CREATE INDEX messages_generating ON messages (state) WHERE state = 'generating';

-- What the keyword search of conversations looks things up in: a document of terms for each
-- conversation, by its number, to which each message adds. It only says which conversations may
-- match, so nothing is ever taken out of it.
CREATE VIRTUAL TABLE conversation_terms USING fts5 (
    terms, content = '', columnsize = 0, detail = 'none', tokenize = 'ascii'
);

CREATE TABLE attachments (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    conversation_id TEXT REFERENCES conversations (id) ON DELETE SET NULL,
    type TEXT NOT NULL,
    filename TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size BIGINT NOT NULL,
    blob_key TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX attachments_by_org ON attachments (org_id, created_at);
CREATE INDEX attachments_by_blob ON attachments (blob_key);

CREATE TABLE records (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    chatbot_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    message_id TEXT NOT NULL UNIQUE,
    channel TEXT NOT NULL,
    sender_name TEXT NOT NULL,
    model_id TEXT NOT NULL,
    model_name TEXT NOT NULL,
    model_provider TEXT NOT NULL,
    input_message TEXT NOT NULL,
    condensed_message TEXT NOT NULL,
    output_message TEXT NOT NULL,
    citation_nodes TEXT NOT NULL,
    words_count BIGINT NOT NULL,
    tokens TEXT NOT NULL,
    processing_time TEXT NOT NULL,
    reply_millis BIGINT NOT NULL,
    error TEXT,
    created_at BIGINT NOT NULL
);
CREATE INDEX records_by_chatbot ON records (chatbot_id, created_at);

-- What assistants owe: the messages they answer by themselves, with the ids of the answers to be.
CREATE TABLE replies (
    message_id TEXT NOT NULL PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    org_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    answer_id TEXT NOT NULL UNIQUE,
    is_waiting BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX replies_waiting ON replies (conversation_id, created_at) WHERE is_waiting;

-- What is known of the address that an assistant's replies are sent to.
CREATE TABLE webhook_endpoints (
    chatbot_id TEXT NOT NULL PRIMARY KEY REFERENCES chatbots (id) ON DELETE CASCADE,
    org_id TEXT NOT NULL,
    secret_sealed BLOB,
    previous_secret_sealed BLOB,
    previous_until BIGINT,
    failing_since BIGINT,
    disabled_at BIGINT,
    disabled_reason TEXT,
    created_at BIGINT NOT NULL
);

-- The outbox: written in the transaction of the message.
CREATE TABLE webhook_deliveries (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    chatbot_id TEXT NOT NULL REFERENCES chatbots (id) ON DELETE CASCADE,
    message_id TEXT NOT NULL UNIQUE REFERENCES messages (id) ON DELETE CASCADE,
    url TEXT NOT NULL,
    body TEXT NOT NULL,
    status TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    is_redelivery BOOLEAN NOT NULL,
    next_attempt_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (chatbot_id, next_attempt_at, id)
    WHERE status = 'pending';
CREATE INDEX webhook_deliveries_by_age ON webhook_deliveries (created_at);
CREATE INDEX webhook_deliveries_by_chatbot ON webhook_deliveries (chatbot_id);

CREATE TABLE webhook_attempts (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    delivery_id TEXT NOT NULL REFERENCES webhook_deliveries (id) ON DELETE CASCADE,
    chatbot_id TEXT NOT NULL,
    url TEXT NOT NULL,
    status_code BIGINT,
    response TEXT NOT NULL,
    duration_millis BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX webhook_attempts_by_chatbot ON webhook_attempts (chatbot_id, created_at, id);
CREATE INDEX webhook_attempts_by_delivery ON webhook_attempts (delivery_id);

CREATE TABLE jobs (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    unique_key TEXT NOT NULL,
    payload TEXT NOT NULL,
    run_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    leased_until BIGINT,
    last_error TEXT,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX jobs_by_key ON jobs (org_id, unique_key);
CREATE INDEX jobs_due ON jobs (kind, run_at, id);
CREATE INDEX jobs_by_turn ON jobs (org_id, kind, run_at, id);
CREATE INDEX jobs_leased ON jobs (kind, org_id, leased_until) WHERE leased_until IS NOT NULL;

CREATE TABLE idempotency_keys (
    org_id TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    attempt TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    made TEXT NOT NULL,
    answer_message_id TEXT,
    status BIGINT,
    content_type TEXT,
    body_sealed BLOB,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (org_id, idempotency_key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

CREATE TABLE audit_entries (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    user_id TEXT,
    credential_id TEXT NOT NULL,
    method TEXT NOT NULL,
    operation TEXT NOT NULL,
    object_id TEXT,
    status BIGINT NOT NULL,
    request_id TEXT NOT NULL,
    address TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX audit_entries_by_org ON audit_entries (org_id, created_at, id);
CREATE INDEX audit_entries_by_age ON audit_entries (created_at);
