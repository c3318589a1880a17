-- What stays of jobs that are forgotten, and says nothing of what was asked for. Of each order what reports add up: whose
-- it was, where it was made, what came of it.
CREATE TABLE past_orders (
    id TEXT PRIMARY KEY,
    buyer TEXT NOT NULL,
    offer TEXT NOT NULL,
    account TEXT NOT NULL,
    outcome TEXT NOT NULL,
    took_ms BIGINT,
    mismatched INTEGER NOT NULL,
    late INTEGER NOT NULL,
    clips INTEGER,
    clips_ms BIGINT
);

-- And whose each task was: one task is never taken for two.
CREATE TABLE past_tasks (
    account TEXT NOT NULL,
    task TEXT NOT NULL,
    attempt TEXT NOT NULL,
    PRIMARY KEY (account, task)
);

-- Times to remember: those who ended by 'forgotten' may be.
CREATE TABLE marks (
    name TEXT PRIMARY KEY,
    at BIGINT NOT NULL
);

-- What hangs on an attempt, and on a job.
CREATE INDEX tasks_of_attempt ON tasks (attempt);
CREATE INDEX idempotency_of_job ON idempotency (job);
