-- Conversations of visitors who never wrote are removed, and what may refer to a conversation is looked
-- up by it then.
CREATE INDEX attachments_by_conversation ON attachments (conversation_id, org_id);
CREATE INDEX records_by_conversation ON records (conversation_id);
