-- Portable column types only; docs/DATABASES.md has the table of both engines.
-- Times are milliseconds since the epoch, ids are UUIDv7 as text, JSON is text kept verbatim.

CREATE TABLE installation (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    created_at BIGINT NOT NULL
);

CREATE TABLE organisations (
    org_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    time_zone TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE users (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL REFERENCES organisations (org_id),
    name TEXT COLLATE "C" NOT NULL,
    email TEXT COLLATE "C",
    role TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    removed_at BIGINT
);
CREATE INDEX users_by_org ON users (org_id, created_at);

CREATE TABLE api_keys (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL REFERENCES organisations (org_id),
    user_id TEXT COLLATE "C" NOT NULL REFERENCES users (id),
    name TEXT COLLATE "C" NOT NULL,
    key_hash TEXT COLLATE "C" NOT NULL UNIQUE,
    scopes TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);

CREATE TABLE model_providers (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL REFERENCES organisations (org_id),
    name TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    base_url TEXT COLLATE "C" NOT NULL,
    api_key_sealed BYTEA,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE models (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL REFERENCES organisations (org_id),
    provider_id TEXT COLLATE "C" NOT NULL REFERENCES model_providers (id) ON DELETE CASCADE,
    role TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    dimensions BIGINT,
    sees_images BOOLEAN NOT NULL,
    is_default BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX models_by_org ON models (org_id, role, created_at);

CREATE TABLE knowledge_bases (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL REFERENCES organisations (org_id),
    name TEXT COLLATE "C" NOT NULL,
    name_folded TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C" NOT NULL,
    embedding_model_id TEXT COLLATE "C",
    reranker_model_id TEXT COLLATE "C",
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
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL REFERENCES organisations (org_id),
    name TEXT COLLATE "C" NOT NULL,
    name_folded TEXT COLLATE "C" NOT NULL,
    model_id TEXT COLLATE "C",
    instructions TEXT COLLATE "C" NOT NULL,
    retrieved_chunks BIGINT,
    webhook_url TEXT COLLATE "C",
    reply_mode TEXT COLLATE "C" NOT NULL,
    enable_evaluation BOOLEAN NOT NULL,
    settings TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX chatbots_by_org ON chatbots (org_id, created_at);

CREATE TABLE groups (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL REFERENCES organisations (org_id),
    name TEXT COLLATE "C" NOT NULL,
    permissions TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX groups_by_org ON groups (org_id, created_at);

CREATE TABLE group_members (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    group_id TEXT COLLATE "C" NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    user_id TEXT COLLATE "C" NOT NULL REFERENCES users (id),
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX group_members_once ON group_members (group_id, user_id);
CREATE INDEX group_members_by_user ON group_members (user_id);

CREATE TABLE group_chatbots (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    group_id TEXT COLLATE "C" NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    chatbot_id TEXT COLLATE "C" NOT NULL REFERENCES chatbots (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX group_chatbots_once ON group_chatbots (group_id, chatbot_id);
CREATE INDEX group_chatbots_by_chatbot ON group_chatbots (chatbot_id);

CREATE TABLE chatbot_knowledge_bases (
    org_id TEXT COLLATE "C" NOT NULL,
    chatbot_id TEXT COLLATE "C" NOT NULL REFERENCES chatbots (id) ON DELETE CASCADE,
    knowledge_base_id TEXT COLLATE "C" NOT NULL REFERENCES knowledge_bases (id) ON DELETE CASCADE,
    PRIMARY KEY (chatbot_id, knowledge_base_id)
);
CREATE INDEX chatbot_knowledge_bases_by_base ON chatbot_knowledge_bases (knowledge_base_id);

CREATE TABLE files (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL REFERENCES organisations (org_id),
    knowledge_base_id TEXT COLLATE "C" NOT NULL REFERENCES knowledge_bases (id) ON DELETE CASCADE,
    filename TEXT COLLATE "C" NOT NULL,
    filename_folded TEXT COLLATE "C" NOT NULL,
    file_type TEXT COLLATE "C" NOT NULL,
    size BIGINT NOT NULL,
    blob_key TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    stage TEXT COLLATE "C" NOT NULL,
    progress_done BIGINT NOT NULL,
    progress_total BIGINT NOT NULL,
    failure TEXT COLLATE "C",
    parser_id TEXT COLLATE "C" NOT NULL,
    embedding_model_id TEXT COLLATE "C",
    generation BIGINT NOT NULL,
    next_generation BIGINT NOT NULL,
    characters BIGINT NOT NULL,
    passages_count BIGINT NOT NULL,
    raw_metadata TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX files_by_base ON files (knowledge_base_id, created_at);
CREATE INDEX files_by_org ON files (org_id);
CREATE INDEX files_by_blob ON files (blob_key);

CREATE TABLE passages (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    knowledge_base_id TEXT COLLATE "C" NOT NULL,
    file_id TEXT COLLATE "C" NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    generation BIGINT NOT NULL,
    ordinal BIGINT NOT NULL,
    text TEXT COLLATE "C" NOT NULL,
    heading TEXT COLLATE "C",
    page BIGINT,
    start_offset BIGINT NOT NULL,
    end_offset BIGINT NOT NULL,
    characters BIGINT NOT NULL,
    hits_count BIGINT NOT NULL,
    vector BYTEA,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX passages_by_file ON passages (file_id, generation, ordinal);

CREATE TABLE labels (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL REFERENCES organisations (org_id),
    knowledge_base_id TEXT COLLATE "C" NOT NULL REFERENCES knowledge_bases (id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL,
    name_folded TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX labels_by_name ON labels (knowledge_base_id, name);

CREATE TABLE file_labels (
    org_id TEXT COLLATE "C" NOT NULL,
    label_id TEXT COLLATE "C" NOT NULL REFERENCES labels (id) ON DELETE CASCADE,
    file_id TEXT COLLATE "C" NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    PRIMARY KEY (label_id, file_id)
);
CREATE INDEX file_labels_by_file ON file_labels (file_id);

-- A question with its answer is one passage, whose id is its own.
CREATE TABLE faqs (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL REFERENCES organisations (org_id),
    knowledge_base_id TEXT COLLATE "C" NOT NULL REFERENCES knowledge_bases (id) ON DELETE CASCADE,
    question TEXT COLLATE "C" NOT NULL,
    answer TEXT COLLATE "C" NOT NULL,
    folded TEXT COLLATE "C" NOT NULL,
    raw_metadata TEXT COLLATE "C",
    hits_count BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    vector BYTEA,
    embedding_model_id TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX faqs_by_base ON faqs (knowledge_base_id, id);

CREATE TABLE faq_labels (
    org_id TEXT COLLATE "C" NOT NULL,
    label_id TEXT COLLATE "C" NOT NULL REFERENCES labels (id) ON DELETE CASCADE,
    faq_id TEXT COLLATE "C" NOT NULL REFERENCES faqs (id) ON DELETE CASCADE,
    PRIMARY KEY (label_id, faq_id)
);
CREATE INDEX faq_labels_by_faq ON faq_labels (faq_id);

-- What the search index has still to learn, in the order it happened.
CREATE TABLE index_changes (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    knowledge_base_id TEXT COLLATE "C" NOT NULL,
    file_id TEXT COLLATE "C",
    faq_id TEXT COLLATE "C",
    generation BIGINT NOT NULL,
    embedding_model_id TEXT COLLATE "C",
    attempts BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

-- The number of the last batch of changes that both the database and the index have seen.
CREATE TABLE index_watermark (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    batch BIGINT NOT NULL
);

CREATE TABLE uploads (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL REFERENCES organisations (org_id),
    blob_key TEXT COLLATE "C" NOT NULL UNIQUE,
    filename TEXT COLLATE "C" NOT NULL,
    size BIGINT NOT NULL,
    used_at BIGINT,
    created_at BIGINT NOT NULL
);
CREATE INDEX uploads_unused ON uploads (used_at, created_at);

CREATE TABLE web_chats (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL REFERENCES organisations (org_id),
    chatbot_id TEXT COLLATE "C" NOT NULL REFERENCES chatbots (id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL,
    access_type TEXT COLLATE "C" NOT NULL,
    settings TEXT COLLATE "C" NOT NULL,
    is_active BOOLEAN NOT NULL,
    daily_reply_limit BIGINT,
    daily_token_limit BIGINT,
    identity_secret_sealed BYTEA,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX web_chats_by_chatbot ON web_chats (chatbot_id, access_type);

-- Other origins that may use a web chat, so that the origin of a request can be looked up.
CREATE TABLE web_chat_origins (
    org_id TEXT COLLATE "C" NOT NULL,
    web_chat_id TEXT COLLATE "C" NOT NULL REFERENCES web_chats (id) ON DELETE CASCADE,
    origin TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (web_chat_id, origin)
);
CREATE INDEX web_chat_origins_by_origin ON web_chat_origins (origin);

-- Uploads that a web chat shows, so that they are kept.
CREATE TABLE web_chat_files (
    org_id TEXT COLLATE "C" NOT NULL,
    web_chat_id TEXT COLLATE "C" NOT NULL REFERENCES web_chats (id) ON DELETE CASCADE,
    blob_key TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (web_chat_id, blob_key)
);
CREATE INDEX web_chat_files_by_blob ON web_chat_files (blob_key);

-- A name of the customer's own under which a web chat's page is served, once it is verified.
CREATE TABLE custom_domains (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    web_chat_id TEXT COLLATE "C" NOT NULL UNIQUE REFERENCES web_chats (id) ON DELETE CASCADE,
    domain TEXT COLLATE "C" NOT NULL UNIQUE,
    status TEXT COLLATE "C" NOT NULL,
    token TEXT COLLATE "C" NOT NULL,
    checked_at BIGINT,
    verified_at BIGINT,
    failure TEXT COLLATE "C",
    created_at BIGINT NOT NULL
);

-- What a web chat's visitors have used of a day in the organisation's time zone.
CREATE TABLE web_chat_usage (
    org_id TEXT COLLATE "C" NOT NULL,
    web_chat_id TEXT COLLATE "C" NOT NULL REFERENCES web_chats (id) ON DELETE CASCADE,
    day TEXT COLLATE "C" NOT NULL,
    replies BIGINT NOT NULL,
    tokens BIGINT NOT NULL,
    PRIMARY KEY (web_chat_id, day)
);

CREATE TABLE inboxes (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL REFERENCES organisations (org_id),
    name TEXT COLLATE "C" NOT NULL,
    channel_type TEXT COLLATE "C" NOT NULL,
    name_folded TEXT COLLATE "C" NOT NULL,
    web_chat_id TEXT COLLATE "C" REFERENCES web_chats (id) ON DELETE SET NULL,
    chatbot_id TEXT COLLATE "C" REFERENCES chatbots (id) ON DELETE SET NULL,
    auto_reply_schedules TEXT COLLATE "C" NOT NULL,
    query_metadata TEXT COLLATE "C",
    sign_auth TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT
);
CREATE INDEX inboxes_by_org ON inboxes (org_id, created_at);
CREATE INDEX inboxes_by_web_chat ON inboxes (web_chat_id);

CREATE TABLE contacts (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL REFERENCES organisations (org_id),
    name TEXT COLLATE "C" NOT NULL,
    name_folded TEXT COLLATE "C" NOT NULL,
    avatar TEXT COLLATE "C",
    phone_number TEXT COLLATE "C",
    email TEXT COLLATE "C",
    source_id TEXT COLLATE "C",
    query_metadata TEXT COLLATE "C",
    details_folded TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT
);
CREATE INDEX contacts_by_org ON contacts (org_id, created_at);

-- The inboxes that a contact writes to. The source id stands here too, because it is unique within
-- an inbox; it is absent once the contact is deleted.
CREATE TABLE contact_inboxes (
    org_id TEXT COLLATE "C" NOT NULL,
    contact_id TEXT COLLATE "C" NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    inbox_id TEXT COLLATE "C" NOT NULL REFERENCES inboxes (id) ON DELETE CASCADE,
    source_id TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    PRIMARY KEY (contact_id, inbox_id)
);
CREATE UNIQUE INDEX contact_inboxes_by_source ON contact_inboxes (inbox_id, source_id);
CREATE INDEX contact_inboxes_by_inbox ON contact_inboxes (inbox_id, created_at);

CREATE TABLE tools (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL REFERENCES organisations (org_id),
    name TEXT COLLATE "C" NOT NULL,
    display_name TEXT COLLATE "C" NOT NULL,
    names_folded TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C" NOT NULL,
    prompt TEXT COLLATE "C" NOT NULL,
    tool_type TEXT COLLATE "C" NOT NULL,
    url TEXT COLLATE "C" NOT NULL,
    http_method TEXT COLLATE "C" NOT NULL,
    raw_parameters_schema TEXT COLLATE "C",
    mcp_allowed_tools TEXT COLLATE "C" NOT NULL,
    header_names TEXT COLLATE "C" NOT NULL,
    headers_sealed BYTEA,
    env_names TEXT COLLATE "C" NOT NULL,
    env_sealed BYTEA,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX tools_by_org ON tools (org_id, created_at);

CREATE TABLE chatbot_tools (
    org_id TEXT COLLATE "C" NOT NULL,
    chatbot_id TEXT COLLATE "C" NOT NULL REFERENCES chatbots (id) ON DELETE CASCADE,
    tool_id TEXT COLLATE "C" NOT NULL REFERENCES tools (id) ON DELETE CASCADE,
    place BIGINT NOT NULL,
    PRIMARY KEY (chatbot_id, tool_id)
);
CREATE INDEX chatbot_tools_by_tool ON chatbot_tools (tool_id);

-- Headers with which a tool is called for one contact.
CREATE TABLE contact_credentials (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    contact_id TEXT COLLATE "C" NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    tool_id TEXT COLLATE "C" NOT NULL REFERENCES tools (id) ON DELETE CASCADE,
    headers_sealed BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX contact_credentials_by_contact ON contact_credentials (contact_id, tool_id);
CREATE INDEX contact_credentials_by_tool ON contact_credentials (tool_id);

-- A visitor of a web chat's page, whose token names this row.
CREATE TABLE visitor_sessions (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    web_chat_id TEXT COLLATE "C" NOT NULL REFERENCES web_chats (id) ON DELETE CASCADE,
    contact_id TEXT COLLATE "C" NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    is_identified BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX visitor_sessions_by_web_chat ON visitor_sessions (web_chat_id, is_identified);
CREATE INDEX visitor_sessions_by_contact ON visitor_sessions (contact_id);
CREATE INDEX visitor_sessions_by_end ON visitor_sessions (expires_at);

CREATE TABLE conversations (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL REFERENCES organisations (org_id),
    number BIGINT NOT NULL GENERATED BY DEFAULT AS IDENTITY,
    inbox_id TEXT COLLATE "C" NOT NULL REFERENCES inboxes (id),
    contact_id TEXT COLLATE "C" NOT NULL REFERENCES contacts (id),
    title TEXT COLLATE "C" NOT NULL,
    title_folded TEXT COLLATE "C" NOT NULL,
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
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    conversation_id TEXT COLLATE "C" NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    contact_id TEXT COLLATE "C",
    user_id TEXT COLLATE "C",
    type TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    content TEXT COLLATE "C" NOT NULL,
    content_payload TEXT COLLATE "C",
    query_metadata TEXT COLLATE "C",
    attachments TEXT COLLATE "C" NOT NULL,
    citations TEXT COLLATE "C" NOT NULL,
    canvas TEXT COLLATE "C",
    feedback_id TEXT COLLATE "C",
    feedback_type TEXT COLLATE "C",
    feedback_suggestion TEXT COLLATE "C",
    feedback_at BIGINT,
    error TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX messages_by_conversation ON messages (conversation_id, created_at, id);
CREATE INDEX messages_generating ON messages (state) WHERE state = 'generating';

-- What the keyword search of conversations looks things up in: the terms of each message, by the
-- number of its conversation. It only says which conversations may match, so nothing is ever taken
-- out of it. A policy would keep the index from being used, since the operator of arrays may not
-- see rows before the policy does; so there are no texts and no organisations in here, and what it
-- gives is read through the conversations, which have one.
CREATE TABLE conversation_terms (
    number BIGINT NOT NULL,
    terms INTEGER[] NOT NULL
);
CREATE INDEX conversation_terms_by_term ON conversation_terms USING gin (terms) WITH (gin_pending_list_limit = 256);

CREATE TABLE attachments (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL REFERENCES organisations (org_id),
    conversation_id TEXT COLLATE "C" REFERENCES conversations (id) ON DELETE SET NULL,
    type TEXT COLLATE "C" NOT NULL,
    filename TEXT COLLATE "C" NOT NULL,
    media_type TEXT COLLATE "C" NOT NULL,
    size BIGINT NOT NULL,
    blob_key TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX attachments_by_org ON attachments (org_id, created_at);
CREATE INDEX attachments_by_blob ON attachments (blob_key);

CREATE TABLE records (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    chatbot_id TEXT COLLATE "C" NOT NULL,
    conversation_id TEXT COLLATE "C" NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    message_id TEXT COLLATE "C" NOT NULL UNIQUE,
    channel TEXT COLLATE "C" NOT NULL,
    sender_name TEXT COLLATE "C" NOT NULL,
    model_id TEXT COLLATE "C" NOT NULL,
    model_name TEXT COLLATE "C" NOT NULL,
    model_provider TEXT COLLATE "C" NOT NULL,
    input_message TEXT COLLATE "C" NOT NULL,
    condensed_message TEXT COLLATE "C" NOT NULL,
    output_message TEXT COLLATE "C" NOT NULL,
    citation_nodes TEXT COLLATE "C" NOT NULL,
    words_count BIGINT NOT NULL,
    tokens TEXT COLLATE "C" NOT NULL,
    processing_time TEXT COLLATE "C" NOT NULL,
    reply_millis BIGINT NOT NULL,
    error TEXT COLLATE "C",
    created_at BIGINT NOT NULL
);
CREATE INDEX records_by_chatbot ON records (chatbot_id, created_at);

-- What assistants owe: the messages they answer by themselves, with the ids of the answers to be.
CREATE TABLE replies (
    message_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    org_id TEXT COLLATE "C" NOT NULL,
    conversation_id TEXT COLLATE "C" NOT NULL,
    answer_id TEXT COLLATE "C" NOT NULL UNIQUE,
    is_waiting BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX replies_waiting ON replies (conversation_id, created_at) WHERE is_waiting;

-- What is known of the address that an assistant's replies are sent to.
CREATE TABLE webhook_endpoints (
    chatbot_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES chatbots (id) ON DELETE CASCADE,
    org_id TEXT COLLATE "C" NOT NULL,
    secret_sealed BYTEA,
    previous_secret_sealed BYTEA,
    previous_until BIGINT,
    failing_since BIGINT,
    disabled_at BIGINT,
    disabled_reason TEXT COLLATE "C",
    created_at BIGINT NOT NULL
);

-- The outbox: written in the transaction of the message.
CREATE TABLE webhook_deliveries (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    chatbot_id TEXT COLLATE "C" NOT NULL REFERENCES chatbots (id) ON DELETE CASCADE,
    message_id TEXT COLLATE "C" NOT NULL UNIQUE REFERENCES messages (id) ON DELETE CASCADE,
    url TEXT COLLATE "C" NOT NULL,
    body TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
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
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    delivery_id TEXT COLLATE "C" NOT NULL REFERENCES webhook_deliveries (id) ON DELETE CASCADE,
    chatbot_id TEXT COLLATE "C" NOT NULL,
    url TEXT COLLATE "C" NOT NULL,
    status_code BIGINT,
    response TEXT COLLATE "C" NOT NULL,
    duration_millis BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX webhook_attempts_by_chatbot ON webhook_attempts (chatbot_id, created_at, id);
CREATE INDEX webhook_attempts_by_delivery ON webhook_attempts (delivery_id);

CREATE TABLE jobs (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    unique_key TEXT COLLATE "C" NOT NULL,
    payload TEXT COLLATE "C" NOT NULL,
    run_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    leased_until BIGINT,
    last_error TEXT COLLATE "C",
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX jobs_by_key ON jobs (org_id, unique_key);
CREATE INDEX jobs_due ON jobs (kind, run_at, id);
CREATE INDEX jobs_by_turn ON jobs (org_id, kind, run_at, id);
CREATE INDEX jobs_leased ON jobs (kind, org_id, leased_until) WHERE leased_until IS NOT NULL;

CREATE TABLE idempotency_keys (
    org_id TEXT COLLATE "C" NOT NULL,
    idempotency_key TEXT COLLATE "C" NOT NULL,
    attempt TEXT COLLATE "C" NOT NULL,
    request_hash TEXT COLLATE "C" NOT NULL,
    made TEXT COLLATE "C" NOT NULL,
    answer_message_id TEXT COLLATE "C",
    status BIGINT,
    content_type TEXT COLLATE "C",
    body_sealed BYTEA,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (org_id, idempotency_key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

CREATE TABLE audit_entries (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL REFERENCES organisations (org_id),
    user_id TEXT COLLATE "C",
    credential_id TEXT COLLATE "C" NOT NULL,
    method TEXT COLLATE "C" NOT NULL,
    operation TEXT COLLATE "C" NOT NULL,
    object_id TEXT COLLATE "C",
    status BIGINT NOT NULL,
    request_id TEXT COLLATE "C" NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX audit_entries_by_org ON audit_entries (org_id, created_at, id);
CREATE INDEX audit_entries_by_age ON audit_entries (created_at);

-- Row-level security: a statement sees the rows of the organisation named by the connection's
-- setting and nothing without one. '*' is the job runner and the authenticator, which have to find
-- out whose a row is.

ALTER TABLE organisations ENABLE ROW LEVEL SECURITY;
ALTER TABLE organisations FORCE ROW LEVEL SECURITY;
CREATE POLICY organisations_of_organisation ON organisations
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE users FORCE ROW LEVEL SECURITY;
CREATE POLICY users_of_organisation ON users
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE api_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY api_keys_of_organisation ON api_keys
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE model_providers ENABLE ROW LEVEL SECURITY;
ALTER TABLE model_providers FORCE ROW LEVEL SECURITY;
CREATE POLICY model_providers_of_organisation ON model_providers
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE models ENABLE ROW LEVEL SECURITY;
ALTER TABLE models FORCE ROW LEVEL SECURITY;
CREATE POLICY models_of_organisation ON models
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE knowledge_bases ENABLE ROW LEVEL SECURITY;
ALTER TABLE knowledge_bases FORCE ROW LEVEL SECURITY;
CREATE POLICY knowledge_bases_of_organisation ON knowledge_bases
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE chatbots ENABLE ROW LEVEL SECURITY;
ALTER TABLE chatbots FORCE ROW LEVEL SECURITY;
CREATE POLICY chatbots_of_organisation ON chatbots
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE chatbot_knowledge_bases ENABLE ROW LEVEL SECURITY;
ALTER TABLE chatbot_knowledge_bases FORCE ROW LEVEL SECURITY;
CREATE POLICY chatbot_knowledge_bases_of_organisation ON chatbot_knowledge_bases
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE files ENABLE ROW LEVEL SECURITY;
ALTER TABLE files FORCE ROW LEVEL SECURITY;
CREATE POLICY files_of_organisation ON files
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE labels ENABLE ROW LEVEL SECURITY;
ALTER TABLE labels FORCE ROW LEVEL SECURITY;
CREATE POLICY labels_of_organisation ON labels
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE file_labels ENABLE ROW LEVEL SECURITY;
ALTER TABLE file_labels FORCE ROW LEVEL SECURITY;
CREATE POLICY file_labels_of_organisation ON file_labels
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE faqs ENABLE ROW LEVEL SECURITY;
ALTER TABLE faqs FORCE ROW LEVEL SECURITY;
CREATE POLICY faqs_of_organisation ON faqs
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE faq_labels ENABLE ROW LEVEL SECURITY;
ALTER TABLE faq_labels FORCE ROW LEVEL SECURITY;
CREATE POLICY faq_labels_of_organisation ON faq_labels
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE passages ENABLE ROW LEVEL SECURITY;
ALTER TABLE passages FORCE ROW LEVEL SECURITY;
CREATE POLICY passages_of_organisation ON passages
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE index_changes ENABLE ROW LEVEL SECURITY;
ALTER TABLE index_changes FORCE ROW LEVEL SECURITY;
CREATE POLICY index_changes_of_organisation ON index_changes
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE uploads ENABLE ROW LEVEL SECURITY;
ALTER TABLE uploads FORCE ROW LEVEL SECURITY;
CREATE POLICY uploads_of_organisation ON uploads
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE web_chats ENABLE ROW LEVEL SECURITY;
ALTER TABLE web_chats FORCE ROW LEVEL SECURITY;
CREATE POLICY web_chats_of_organisation ON web_chats
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE web_chat_origins ENABLE ROW LEVEL SECURITY;
ALTER TABLE web_chat_origins FORCE ROW LEVEL SECURITY;
CREATE POLICY web_chat_origins_of_organisation ON web_chat_origins
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE web_chat_files ENABLE ROW LEVEL SECURITY;
ALTER TABLE web_chat_files FORCE ROW LEVEL SECURITY;
CREATE POLICY web_chat_files_of_organisation ON web_chat_files
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE custom_domains ENABLE ROW LEVEL SECURITY;
ALTER TABLE custom_domains FORCE ROW LEVEL SECURITY;
CREATE POLICY custom_domains_of_organisation ON custom_domains
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE web_chat_usage ENABLE ROW LEVEL SECURITY;
ALTER TABLE web_chat_usage FORCE ROW LEVEL SECURITY;
CREATE POLICY web_chat_usage_of_organisation ON web_chat_usage
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE inboxes ENABLE ROW LEVEL SECURITY;
ALTER TABLE inboxes FORCE ROW LEVEL SECURITY;
CREATE POLICY inboxes_of_organisation ON inboxes
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE contact_inboxes ENABLE ROW LEVEL SECURITY;
ALTER TABLE contact_inboxes FORCE ROW LEVEL SECURITY;
CREATE POLICY contact_inboxes_of_organisation ON contact_inboxes
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE visitor_sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE visitor_sessions FORCE ROW LEVEL SECURITY;
CREATE POLICY visitor_sessions_of_organisation ON visitor_sessions
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE contacts ENABLE ROW LEVEL SECURITY;
ALTER TABLE contacts FORCE ROW LEVEL SECURITY;
CREATE POLICY contacts_of_organisation ON contacts
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE tools ENABLE ROW LEVEL SECURITY;
ALTER TABLE tools FORCE ROW LEVEL SECURITY;
CREATE POLICY tools_of_organisation ON tools
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE chatbot_tools ENABLE ROW LEVEL SECURITY;
ALTER TABLE chatbot_tools FORCE ROW LEVEL SECURITY;
CREATE POLICY chatbot_tools_of_organisation ON chatbot_tools
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE contact_credentials ENABLE ROW LEVEL SECURITY;
ALTER TABLE contact_credentials FORCE ROW LEVEL SECURITY;
CREATE POLICY contact_credentials_of_organisation ON contact_credentials
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE conversations ENABLE ROW LEVEL SECURITY;
ALTER TABLE conversations FORCE ROW LEVEL SECURITY;
CREATE POLICY conversations_of_organisation ON conversations
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE messages ENABLE ROW LEVEL SECURITY;
ALTER TABLE messages FORCE ROW LEVEL SECURITY;
CREATE POLICY messages_of_organisation ON messages
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE attachments ENABLE ROW LEVEL SECURITY;
ALTER TABLE attachments FORCE ROW LEVEL SECURITY;
CREATE POLICY attachments_of_organisation ON attachments
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE records ENABLE ROW LEVEL SECURITY;
ALTER TABLE records FORCE ROW LEVEL SECURITY;
CREATE POLICY records_of_organisation ON records
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE replies ENABLE ROW LEVEL SECURITY;
ALTER TABLE replies FORCE ROW LEVEL SECURITY;
CREATE POLICY replies_of_organisation ON replies
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE webhook_endpoints ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_endpoints FORCE ROW LEVEL SECURITY;
CREATE POLICY webhook_endpoints_of_organisation ON webhook_endpoints
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE webhook_deliveries ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_deliveries FORCE ROW LEVEL SECURITY;
CREATE POLICY webhook_deliveries_of_organisation ON webhook_deliveries
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE webhook_attempts ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_attempts FORCE ROW LEVEL SECURITY;
CREATE POLICY webhook_attempts_of_organisation ON webhook_attempts
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE jobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobs FORCE ROW LEVEL SECURITY;
CREATE POLICY jobs_of_organisation ON jobs
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY idempotency_keys_of_organisation ON idempotency_keys
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE audit_entries ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_entries FORCE ROW LEVEL SECURITY;
CREATE POLICY audit_entries_of_organisation ON audit_entries
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE groups ENABLE ROW LEVEL SECURITY;
ALTER TABLE groups FORCE ROW LEVEL SECURITY;
CREATE POLICY groups_of_organisation ON groups
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE group_members ENABLE ROW LEVEL SECURITY;
ALTER TABLE group_members FORCE ROW LEVEL SECURITY;
CREATE POLICY group_members_of_organisation ON group_members
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));

ALTER TABLE group_chatbots ENABLE ROW LEVEL SECURITY;
ALTER TABLE group_chatbots FORCE ROW LEVEL SECURITY;
CREATE POLICY group_chatbots_of_organisation ON group_chatbots
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));
