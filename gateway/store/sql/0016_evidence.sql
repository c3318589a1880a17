-- What a provider said of an order that nobody here could read: the beginning of the answer to an order, or a word for
-- how its task stands. For operators alone; secrets are hidden in it.
CREATE TABLE evidence (
    attempt TEXT NOT NULL,
    kind TEXT NOT NULL,
    at BIGINT NOT NULL,
    said TEXT NOT NULL,
    PRIMARY KEY (attempt, kind)
);

-- Tasks that were bought and that no job will ever collect. seen_at is when an operator said that it is dealt with.
CREATE TABLE orphans (
    attempt TEXT NOT NULL,
    task TEXT NOT NULL,
    account TEXT NOT NULL,
    job TEXT NOT NULL,
    found_at BIGINT NOT NULL,
    seen_at BIGINT,
    PRIMARY KEY (attempt, task)
);

CREATE INDEX orphans_unseen ON orphans (found_at) WHERE seen_at IS NULL;
