-- Where a tenant is told what becomes of its videos. Secrets are not kept: they follow from id and version.
CREATE TABLE endpoints (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    url TEXT NOT NULL,
    host TEXT NOT NULL,
    event_types TEXT NOT NULL,
    version INTEGER NOT NULL,
    old_until BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    failing_since BIGINT,
    disabled_at BIGINT,
    disabled_why TEXT
);

CREATE INDEX endpoints_of_tenant ON endpoints (tenant, id);

-- What signs deliveries to a call's own callback_url: one secret a tenant.
CREATE TABLE callback_secrets (
    tenant TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    old_until BIGINT
);

-- The outbox: rows are written with the end of the job they speak of, or not at all.
CREATE TABLE deliveries (
    id TEXT PRIMARY KEY,
    event TEXT NOT NULL,
    tenant TEXT NOT NULL,
    job TEXT NOT NULL REFERENCES jobs (id),
    endpoint TEXT,
    url TEXT NOT NULL,
    host TEXT NOT NULL,
    type TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    due_at BIGINT,
    lease_until BIGINT,
    state TEXT NOT NULL,
    tries INTEGER NOT NULL,
    step INTEGER NOT NULL,
    ended_at BIGINT
);

CREATE INDEX deliveries_due ON deliveries (due_at, host) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_of_endpoint ON deliveries (endpoint, id);
CREATE INDEX deliveries_of_job ON deliveries (job);
CREATE INDEX deliveries_ended ON deliveries (created_at) WHERE due_at IS NULL;

CREATE TABLE tries (
    delivery TEXT NOT NULL REFERENCES deliveries (id),
    number INTEGER NOT NULL,
    at BIGINT NOT NULL,
    took_ms INTEGER NOT NULL,
    status INTEGER,
    error TEXT,
    PRIMARY KEY (delivery, number)
);

-- Where providers may call, by the hash of the token in the address; task is what one said its task is.
CREATE TABLE hooks (
    hash TEXT PRIMARY KEY,
    attempt TEXT NOT NULL UNIQUE REFERENCES attempts (id),
    task TEXT
);

-- Which attempt a provider's task belongs to: one task is never taken for two.
CREATE TABLE tasks (
    account TEXT NOT NULL,
    task TEXT NOT NULL,
    attempt TEXT NOT NULL REFERENCES attempts (id),
    PRIMARY KEY (account, task)
);
