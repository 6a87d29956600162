-- Several web chats may claim one name; only one of them can have proved it. A constraint of a column
-- cannot be taken back here, so the table is made anew.
CREATE TABLE custom_domains_without_constraint (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    web_chat_id TEXT NOT NULL UNIQUE REFERENCES web_chats (id) ON DELETE CASCADE,
    domain TEXT NOT NULL,
    status TEXT NOT NULL,
    token TEXT NOT NULL,
    checked_at BIGINT,
    verified_at BIGINT,
    failure TEXT,
    created_at BIGINT NOT NULL
);
INSERT INTO custom_domains_without_constraint
    (id, org_id, web_chat_id, domain, status, token, checked_at, verified_at, failure, created_at)
SELECT id, org_id, web_chat_id, domain, status, token, checked_at, verified_at, failure, created_at
FROM custom_domains;
DROP TABLE custom_domains;
ALTER TABLE custom_domains_without_constraint RENAME TO custom_domains;
CREATE INDEX custom_domains_by_domain ON custom_domains (domain);
CREATE UNIQUE INDEX custom_domains_verified ON custom_domains (domain) WHERE status = 'verified';
