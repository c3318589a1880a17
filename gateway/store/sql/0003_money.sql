-- Money: whole micro-dollars. Entries are only ever added; a budget's sums move with them in the same transaction.

ALTER TABLE jobs ADD COLUMN buyer TEXT;
ALTER TABLE jobs ADD COLUMN hold TEXT;
ALTER TABLE keys ADD COLUMN limits TEXT;

-- How many jobs of a key are under way.
CREATE INDEX jobs_open_of_buyer ON jobs (buyer) WHERE completed_at IS NULL;

-- Who waits for evidence that nobody has: for operators.
CREATE INDEX jobs_unknown ON jobs (id) WHERE state = 'unknown';

-- What a budget has set aside, spent, and cannot say of; one row for a day, a month or for ever.
CREATE TABLE budgets (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    period TEXT NOT NULL,
    since BIGINT NOT NULL,
    held BIGINT NOT NULL,
    spent BIGINT NOT NULL,
    suspense BIGINT NOT NULL
);

-- Double entry: an amount leaves one book (available, held, suspense) for another (held, spent, suspense, available).
-- The id is the job and what is done, so that nothing is held, settled or released twice.
CREATE TABLE entries (
    id TEXT PRIMARY KEY,
    job TEXT NOT NULL,
    kind TEXT NOT NULL,
    debit TEXT NOT NULL,
    credit TEXT NOT NULL,
    usd_micros BIGINT NOT NULL,
    at BIGINT NOT NULL,
    owner TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    account TEXT NOT NULL
);

CREATE INDEX entries_of_job ON entries (job);
CREATE INDEX entries_spent ON entries (at) WHERE credit = 'spent';

-- What an operator has switched: while there is a row 'halt', nothing is bought.
CREATE TABLE switches (
    name TEXT PRIMARY KEY,
    at BIGINT NOT NULL,
    why TEXT NOT NULL
);
