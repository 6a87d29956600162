-- What was set aside of a web chat's day for an answer that is not over. The answer may be a reply whose
-- row is made later, so this does not refer to messages.
CREATE TABLE web_chat_reservations (
    answer_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    web_chat_id TEXT COLLATE "C" NOT NULL REFERENCES web_chats (id) ON DELETE CASCADE,
    day TEXT COLLATE "C" NOT NULL
);
CREATE INDEX web_chat_reservations_by_web_chat ON web_chat_reservations (web_chat_id, day);

ALTER TABLE web_chat_reservations ENABLE ROW LEVEL SECURITY;
ALTER TABLE web_chat_reservations FORCE ROW LEVEL SECURITY;
CREATE POLICY web_chat_reservations_of_organisation ON web_chat_reservations
    USING (current_setting('parlance.organisation', TRUE) IN (org_id, '*'))
    WITH CHECK (current_setting('parlance.organisation', TRUE) IN (org_id, '*'));
