-- Several web chats may claim one name; only one of them can have proved it.
ALTER TABLE custom_domains DROP CONSTRAINT custom_domains_domain_key;
CREATE INDEX custom_domains_by_domain ON custom_domains (domain);
CREATE UNIQUE INDEX custom_domains_verified ON custom_domains (domain) WHERE status = 'verified';
