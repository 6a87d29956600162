-- How many bytes of uploads an organisation stores. Kept beside the uploads, and changed in the
-- transactions that add and remove them: a sum over all of them at each upload would be slow, and two
-- uploads at the same time would not see each other.

CREATE TABLE organisation_storage (
    org_id TEXT NOT NULL PRIMARY KEY REFERENCES organisations (org_id),
    stored_bytes BIGINT NOT NULL
);

-- Released uploads, which wait for the sweeper, have the time 0.
INSERT INTO organisation_storage (org_id, stored_bytes)
SELECT org_id, CAST(sum(size) AS BIGINT) FROM uploads WHERE created_at > 0 GROUP BY org_id;
