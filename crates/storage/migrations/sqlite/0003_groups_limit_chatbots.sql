-- Whether a group limits its members to its chatbots: from the first that it is given until the last is
-- taken from it. A chatbot that is removed as such changes nothing here, so that members who reached
-- only that one do not reach all others afterwards.

ALTER TABLE groups ADD COLUMN limits_chatbots BOOLEAN NOT NULL DEFAULT FALSE;

UPDATE groups SET limits_chatbots = TRUE
WHERE EXISTS (SELECT 1 FROM group_chatbots AS l WHERE l.group_id = groups.id);
