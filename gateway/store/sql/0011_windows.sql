-- A budget counts the jobs accepted in its window, whenever their money moves. A job's id begins with the time it was
-- accepted at, so a window is a stretch of ids: from ``first_job`` on, and before ``last_job``. ``most`` is the limit
-- the last purchase was held to, and what was taken since without asking. Every row is opened anew, from its entries,
-- by the next purchase.
DROP TABLE budgets;

CREATE TABLE budgets (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    period TEXT NOT NULL,
    first_job TEXT NOT NULL,
    last_job TEXT NOT NULL,
    held BIGINT NOT NULL,
    spent BIGINT NOT NULL,
    suspense BIGINT NOT NULL,
    most BIGINT NOT NULL
);

CREATE INDEX budgets_of_owner ON budgets (owner, last_job);
