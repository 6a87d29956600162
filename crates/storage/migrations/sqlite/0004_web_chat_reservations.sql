-- What was set aside of a web chat's day for an answer that is not over. The answer may be a reply whose
-- row is made later, so this does not refer to messages.
CREATE TABLE web_chat_reservations (
    answer_id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    web_chat_id TEXT NOT NULL REFERENCES web_chats (id) ON DELETE CASCADE,
    day TEXT NOT NULL
);
CREATE INDEX web_chat_reservations_by_web_chat ON web_chat_reservations (web_chat_id, day);
