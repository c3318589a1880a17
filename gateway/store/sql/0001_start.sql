-- Times are milliseconds since the epoch. Structured values are JSON in TEXT.
-- Only types and words that SQLite and PostgreSQL read alike.

CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    state TEXT NOT NULL,
    seq BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    started_at BIGINT,
    completed_at BIGINT,
    expires_at BIGINT,
    deadline_at BIGINT NOT NULL,
    due_at BIGINT,
    lease_until BIGINT,
    tries INTEGER NOT NULL,
    lease_epoch BIGINT NOT NULL,
    operation TEXT NOT NULL,
    parent TEXT,
    wish TEXT NOT NULL,
    offer TEXT,
    account TEXT,
    quote TEXT NOT NULL,
    attempt TEXT,
    attempts INTEGER NOT NULL,
    task TEXT,
    progress INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL,
    outputs TEXT NOT NULL,
    usage TEXT NOT NULL,
    warnings TEXT NOT NULL,
    error TEXT,
    deleted_at BIGINT
);

-- The queue: what a worker should look at next.
CREATE INDEX jobs_due ON jobs (due_at) WHERE due_at IS NOT NULL;

-- A tenant's list, newest or oldest first: ids sort by time.
CREATE INDEX jobs_of_tenant ON jobs (tenant, id) WHERE deleted_at IS NULL;

CREATE TABLE attempts (
    id TEXT PRIMARY KEY,
    job TEXT NOT NULL REFERENCES jobs (id),
    number INTEGER NOT NULL,
    offer TEXT NOT NULL,
    account TEXT NOT NULL,
    submit_class TEXT NOT NULL,
    outcome TEXT NOT NULL,
    usd_micros BIGINT NOT NULL,
    intent_at BIGINT NOT NULL,
    answered_at BIGINT,
    ended_at BIGINT,
    task TEXT,
    error TEXT
);

CREATE INDEX attempts_of_job ON attempts (job, number);

-- The database itself forbids a second purchase while one is open; it also finds what is under way.
CREATE UNIQUE INDEX attempts_open ON attempts (job) WHERE outcome IN ('intent', 'unknown', 'accepted');

-- One row per Idempotency-Key, and one per body for folding the retries SDKs make by themselves.
CREATE TABLE idempotency (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    job TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, name)
);

CREATE INDEX idempotency_expired ON idempotency (expires_at);

CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    tenant TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);

CREATE TABLE files (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    filename TEXT NOT NULL,
    purpose TEXT NOT NULL,
    media_type TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE INDEX files_of_tenant ON files (tenant, id);
