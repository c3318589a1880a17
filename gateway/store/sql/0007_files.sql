-- Uploads expire, where they say so or the gateway does. How long a clip lasts is kept, so that it need not be fetched
-- from wherever it lies to be measured again. It is NULL for what was uploaded before.
ALTER TABLE files ADD COLUMN seconds DOUBLE PRECISION;
ALTER TABLE files ADD COLUMN expires_at BIGINT;

CREATE INDEX files_expiring ON files (expires_at) WHERE expires_at IS NOT NULL;

-- Whether bytes belong to a file.
CREATE INDEX files_of_hash ON files (sha256);
