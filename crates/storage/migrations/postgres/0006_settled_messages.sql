-- When messages settled: were stored or, answers, ended. Pages that come back read from it what they
-- missed, in its order. The text of an answer that is being made is saved again and again, so such
-- answers are not in it.
CREATE INDEX messages_settled ON messages (conversation_id, updated_at, id) WHERE state <> 'generating';
