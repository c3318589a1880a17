-- The laws of the store, each as a query that finds what breaks it: read-only, on a live database. The line above
-- each query is what is wrong with what it finds. A while is added to a column, never taken from ``:now``: PostgreSQL
-- types a parameter by what stands beside it, and the time is too large for the type of a written number.

-- two_orders --
-- A job has more than one open order.
SELECT job, count(*) FROM attempts WHERE outcome IN ('intent', 'unknown', 'accepted') GROUP BY job HAVING count(*) > 1;

-- task_twice --
-- Two orders at one account have the same task.
SELECT account, task, count(*) FROM attempts WHERE task IS NOT NULL GROUP BY account, task HAVING count(*) > 1;

-- overdue --
-- A job is ten minutes past its deadline, and nobody ended it; a clip that is being kept may take its time, and so may
-- an order its provider has denied once since, after an outage: it is asked once more.
SELECT id, state, deadline_at FROM jobs
WHERE completed_at IS NULL AND state <> 'storing' AND deadline_at + 600000 < :now AND NOT (
    state = 'unknown' AND updated_at + 600000 >= :now
    AND EXISTS (SELECT 1 FROM attempts WHERE attempts.id = jobs.attempt AND attempts.error = 'its provider does not know it')
);

-- forgotten --
-- A job has not ended, and nothing will ever look at it.
SELECT id, state FROM jobs WHERE completed_at IS NULL AND due_at IS NULL;

-- doubted_for_ever --
-- A job ended in doubt an hour ago, and nothing will ever ask after it.
SELECT id, state, completed_at FROM jobs
WHERE state IN ('failed', 'cancelled') AND replace(hold, 'possibly_billed', '') <> hold
    AND due_at IS NULL AND completed_at + 3600000 < :now;

-- given_up_for_ever --
-- A job ended an hour ago, nobody can tell what the order cost that was given up for its last, and nothing will ever ask.
SELECT id, state, completed_at FROM jobs
WHERE replace(abandoned, 'possibly_billed', '') <> abandoned AND due_at IS NULL AND completed_at + 3600000 < :now;

-- given_up_unasked --
-- An order was given up for another, and its call did not ask for that; or two were.
SELECT jobs.id, count(*) FROM jobs JOIN attempts ON attempts.job = jobs.id
WHERE attempts.outcome = 'abandoned'
GROUP BY jobs.id, jobs.abandoned, jobs.wish
HAVING count(*) > 1 OR jobs.abandoned IS NULL
    OR replace(jobs.wish, '"on_unknown":"resubmit"', '') = jobs.wish;

-- ended_open --
-- A job has ended, and an order of it is still open.
SELECT jobs.id, attempts.id FROM jobs JOIN attempts ON attempts.job = jobs.id
WHERE jobs.completed_at IS NOT NULL AND attempts.outcome IN ('intent', 'unknown', 'accepted');

-- running_closed --
-- A job is being made, and has no open order.
SELECT id, state FROM jobs WHERE state IN ('submitting', 'unknown', 'running', 'storing')
    AND NOT EXISTS (
        SELECT 1 FROM attempts WHERE attempts.job = jobs.id AND attempts.outcome IN ('intent', 'unknown', 'accepted')
    );

-- bought_unsaid --
-- A purchase has no line in the ledger that set its money aside.
SELECT attempts.id FROM attempts JOIN jobs ON jobs.id = attempts.job
WHERE attempts.usd_micros > 0 AND jobs.hold IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM entries WHERE entries.job = attempts.job AND entries.kind = 'hold');

-- held_for_ever --
-- Money is still set aside for a job that has ended.
SELECT job, sum(CASE WHEN credit = 'held' THEN usd_micros WHEN debit = 'held' THEN -usd_micros ELSE 0 END)
FROM entries WHERE job IN (SELECT id FROM jobs WHERE completed_at IS NOT NULL)
GROUP BY job
HAVING sum(CASE WHEN credit = 'held' THEN usd_micros WHEN debit = 'held' THEN -usd_micros ELSE 0 END) <> 0;

-- below_nothing --
-- A budget's sums are below nothing.
SELECT id, held, spent, suspense FROM budgets WHERE held < 0 OR spent < 0 OR suspense < 0;

-- budget_astray --
-- A budget's sums are not what its entries say.
SELECT budgets.id, budgets.held, budgets.spent, budgets.suspense FROM budgets LEFT JOIN (
    SELECT windows.first_job, windows.last_job, entries.owner,
        sum(CASE 'held' WHEN credit THEN usd_micros WHEN debit THEN -usd_micros ELSE 0 END) AS held,
        sum(CASE 'spent' WHEN credit THEN usd_micros WHEN debit THEN -usd_micros ELSE 0 END) AS spent,
        sum(CASE 'suspense' WHEN credit THEN usd_micros WHEN debit THEN -usd_micros ELSE 0 END) AS suspense
    FROM (SELECT DISTINCT first_job, last_job FROM budgets) AS windows
        JOIN entries ON entries.job >= windows.first_job AND entries.job < windows.last_job
    GROUP BY windows.first_job, windows.last_job, entries.owner
) AS moved ON moved.first_job = budgets.first_job AND moved.last_job = budgets.last_job
    AND budgets.owner IN (moved.owner, 'instance')
GROUP BY budgets.id
HAVING budgets.held <> coalesce(sum(moved.held), 0) OR budgets.spent <> coalesce(sum(moved.spent), 0)
    OR budgets.suspense <> coalesce(sum(moved.suspense), 0);

-- overdrawn --
-- A budget has more set aside, spent and in doubt than its limit and what providers charged beyond their quotes.
SELECT id, held, spent, suspense, most FROM budgets WHERE held + spent + suspense > most;

-- untold --
-- A job ended within the last day, and nothing goes to the address its call wanted told.
SELECT id, state FROM jobs WHERE completed_at + 86400000 > :now AND json_extract(wish, '$.callback_url') IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.job = jobs.id AND endpoint IS NULL);

-- untold on postgresql --
SELECT id, state FROM jobs WHERE completed_at + 86400000 > :now AND CAST(wish AS json) ->> 'callback_url' IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.job = jobs.id AND endpoint IS NULL);

-- lease_dead --
-- A lease ran out two minutes ago, and nobody took the job over.
SELECT id, lease_until FROM jobs WHERE lease_until IS NOT NULL AND lease_until + 120000 < :now;

-- put_aside --
-- A job is left alone because its steps brought the gateway down; one that is unknown waits for you.
SELECT id, state, aside_at FROM jobs WHERE aside_at IS NOT NULL AND completed_at IS NULL;

-- clip_missing --
-- A job succeeded, is not expired, and keeps no clip.
SELECT id FROM jobs WHERE state = 'succeeded' AND outputs = '[]' AND deleted_at IS NULL
    AND (expires_at IS NULL OR expires_at > :now);

-- in_line_ended --
-- A job stands in line for a place and is not queued.
SELECT lines.job, lines.account, lines.model FROM lines JOIN jobs ON jobs.id = lines.job WHERE jobs.state <> 'queued';

-- in_no_line --
-- A job is queued for a place and stands in no line.
SELECT id, account FROM jobs WHERE state = 'queued' AND account IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM lines WHERE lines.job = jobs.id);

-- counted_twice --
-- An order is counted as one of a forgotten job, and its job is there.
SELECT past_orders.id, attempts.job FROM past_orders JOIN attempts ON attempts.id = past_orders.id;
