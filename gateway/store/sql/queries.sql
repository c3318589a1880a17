-- Every query there is, by name. ``:name`` is a parameter; one query, one statement. What only one kind of database
-- reads, or reads otherwise, says so: ``on postgresql``. ``RETURNING 1`` says only that a row was touched: PostgreSQL
-- tells a column of values apart by it, SQLite counts rows itself and is spared it.

-- job_insert --
INSERT INTO jobs (
    id, tenant, state, seq, created_at, updated_at, started_at, completed_at, expires_at, deadline_at, due_at,
    lease_until, tries, lease_epoch, operation, parent, wish, offer, account, quote, attempt, attempts, task,
    progress, cancel_requested, outputs, usage, warnings, error, deleted_at, buyer, hold
) VALUES (
    :id, :tenant, :state, :seq, :created_at, :updated_at, :started_at, :completed_at, :expires_at, :deadline_at,
    :due_at, :lease_until, :tries, :lease_epoch, :operation, :parent, :wish, :offer, :account, :quote, :attempt,
    :attempts, :task, :progress, :cancel_requested, :outputs, :usage, :warnings, :error, :deleted_at, :buyer, :hold
);

-- idempotency_take --
-- ``fresh`` takes the name over from an older job whose caller was answered; otherwise only an expired row gives way.
-- No row comes back where the name is taken.
INSERT INTO idempotency (tenant, name, fingerprint, job, expires_at)
VALUES (:tenant, :name, :fingerprint, :job, :expires_at)
ON CONFLICT (tenant, name) DO UPDATE
SET fingerprint = excluded.fingerprint, job = excluded.job, expires_at = excluded.expires_at, unheard = 0
WHERE (:fresh = 1 AND idempotency.unheard = 0) OR idempotency.expires_at <= :now
RETURNING 1;

-- idempotency_read --
SELECT fingerprint, job FROM idempotency WHERE tenant = :tenant AND name = :name AND expires_at > :now;

-- idempotency_unheard --
UPDATE idempotency SET unheard = 1 WHERE tenant = :tenant AND job = :job;

-- idempotency_heard --
UPDATE idempotency SET unheard = 0 WHERE tenant = :tenant AND name = :name;

-- idempotency_sweep --
DELETE FROM idempotency WHERE (tenant, name) IN (
    SELECT tenant, name FROM idempotency WHERE expires_at <= :now ORDER BY expires_at LIMIT :most
)
RETURNING job;

-- idempotency_sweep on postgresql --
-- What another process has its hand on is swept by it, or taken over.
WITH expired AS MATERIALIZED (
    SELECT tenant, name FROM idempotency WHERE expires_at <= :now ORDER BY expires_at LIMIT :most
    FOR UPDATE SKIP LOCKED
)
DELETE FROM idempotency WHERE (tenant, name) IN (SELECT tenant, name FROM expired)
RETURNING job;

-- job_read --
SELECT * FROM jobs WHERE id = :id;

-- job_of_tenant --
SELECT * FROM jobs WHERE id = :id AND tenant = :tenant AND deleted_at IS NULL;

-- job_version --
SELECT seq, cancel_requested FROM jobs WHERE id = :id AND tenant = :tenant AND deleted_at IS NULL;

-- jobs_newest --
SELECT * FROM jobs WHERE tenant = :tenant AND deleted_at IS NULL AND id < :after ORDER BY id DESC LIMIT :most;

-- jobs_oldest --
SELECT * FROM jobs WHERE tenant = :tenant AND deleted_at IS NULL AND id > :after ORDER BY id LIMIT :most;

-- jobs_kinds --
-- Which states and offers a tenant has jobs of: one look at the index for each pair there is, however many jobs.
WITH RECURSIVE kinds (state, offer) AS (
    SELECT each.column1, (
        SELECT min(jobs.offer) FROM jobs
        WHERE jobs.state = each.column1 AND jobs.tenant = :tenant AND jobs.deleted_at IS NULL
    )
    FROM (VALUES ('queued'), ('submitting'), ('unknown'), ('running'), ('storing'), ('succeeded'), ('failed'), ('cancelled')) AS each
    UNION ALL
    SELECT kinds.state, (
        SELECT min(jobs.offer) FROM jobs
        WHERE jobs.state = kinds.state AND jobs.tenant = :tenant AND jobs.deleted_at IS NULL AND jobs.offer > kinds.offer
    )
    FROM kinds WHERE kinds.offer IS NOT NULL
)
SELECT state, offer FROM kinds WHERE offer IS NOT NULL;

-- jobs_newest_of --
-- CROSS JOIN makes SQLite begin with the pairs of state and offer; of each no more is read than could be answered.
SELECT * FROM jobs WHERE id IN (
    SELECT jobs.id FROM json_each(:kinds) AS kind CROSS JOIN jobs
    WHERE jobs.rowid IN (
        SELECT one.rowid FROM jobs AS one
        WHERE one.state = json_extract(kind.value, '$[0]') AND one.tenant = :tenant
            AND one.offer = json_extract(kind.value, '$[1]') AND one.deleted_at IS NULL
            AND one.id > :first AND one.id < :last
            AND (:key = '' OR one.buyer = :key)
            AND (:expired = 0 OR one.state <> 'succeeded' OR one.outputs = '[]')
            AND (
                json_extract(kind.value, '$[2]') = 0
                OR json_extract(one.wish, '$.request.model') IN (SELECT value FROM json_each(:names))
            )
        ORDER BY one.id DESC LIMIT :most
    )
    ORDER BY jobs.id DESC LIMIT :most
)
ORDER BY id DESC;

-- jobs_newest_of on postgresql --
SELECT * FROM jobs WHERE id IN (
    SELECT found.id FROM json_array_elements(CAST(CAST(:kinds AS TEXT) AS JSON)) AS kind (value)
    CROSS JOIN LATERAL (
        SELECT one.id FROM jobs AS one
        WHERE one.state = kind.value ->> 0 AND one.tenant = :tenant
            AND one.offer = kind.value ->> 1 AND one.deleted_at IS NULL
            AND one.id > :first AND one.id < :last
            AND (CAST(:key AS TEXT) = '' OR one.buyer = CAST(:key AS TEXT))
            AND (CAST(:expired AS BIGINT) = 0 OR one.state <> 'succeeded' OR one.outputs = '[]')
            AND (
                kind.value ->> 2 = '0'
                OR CAST(one.wish AS JSON) -> 'request' ->> 'model'
                    IN (SELECT json_array_elements_text(CAST(CAST(:names AS TEXT) AS JSON)))
            )
        ORDER BY one.id DESC LIMIT :most
    ) AS found
    ORDER BY found.id DESC LIMIT :most
)
ORDER BY id DESC;

-- jobs_oldest_of --
-- CROSS JOIN makes SQLite begin with the pairs of state and offer; of each no more is read than could be answered.
SELECT * FROM jobs WHERE id IN (
    SELECT jobs.id FROM json_each(:kinds) AS kind CROSS JOIN jobs
    WHERE jobs.rowid IN (
        SELECT one.rowid FROM jobs AS one
        WHERE one.state = json_extract(kind.value, '$[0]') AND one.tenant = :tenant
            AND one.offer = json_extract(kind.value, '$[1]') AND one.deleted_at IS NULL
            AND one.id > :first AND one.id < :last
            AND (:key = '' OR one.buyer = :key)
            AND (:expired = 0 OR one.state <> 'succeeded' OR one.outputs = '[]')
            AND (
                json_extract(kind.value, '$[2]') = 0
                OR json_extract(one.wish, '$.request.model') IN (SELECT value FROM json_each(:names))
            )
        ORDER BY one.id LIMIT :most
    )
    ORDER BY jobs.id LIMIT :most
)
ORDER BY id;

-- jobs_oldest_of on postgresql --
SELECT * FROM jobs WHERE id IN (
    SELECT found.id FROM json_array_elements(CAST(CAST(:kinds AS TEXT) AS JSON)) AS kind (value)
    CROSS JOIN LATERAL (
        SELECT one.id FROM jobs AS one
        WHERE one.state = kind.value ->> 0 AND one.tenant = :tenant
            AND one.offer = kind.value ->> 1 AND one.deleted_at IS NULL
            AND one.id > :first AND one.id < :last
            AND (CAST(:key AS TEXT) = '' OR one.buyer = CAST(:key AS TEXT))
            AND (CAST(:expired AS BIGINT) = 0 OR one.state <> 'succeeded' OR one.outputs = '[]')
            AND (
                kind.value ->> 2 = '0'
                OR CAST(one.wish AS JSON) -> 'request' ->> 'model'
                    IN (SELECT json_array_elements_text(CAST(CAST(:names AS TEXT) AS JSON)))
            )
        ORDER BY one.id LIMIT :most
    ) AS found
    ORDER BY found.id LIMIT :most
)
ORDER BY id;

-- attempt_known --
SELECT id FROM attempts WHERE id = :id UNION ALL SELECT id FROM past_orders WHERE id = :id;

-- jobs_claim --
-- A lease is a due time in the future: a worker that dies gives its jobs back by doing nothing. Who finds a lease that
-- ran out counts it: somebody died with the job in hand.
UPDATE jobs SET lease_epoch = lease_epoch + 1, lease_until = :until, due_at = :until,
    crashes = crashes + CASE WHEN lease_until IS NULL THEN 0 ELSE 1 END
WHERE id IN (SELECT id FROM jobs WHERE due_at <= :now ORDER BY due_at LIMIT :most)
RETURNING *;

-- jobs_claim on postgresql --
-- Several processes claim at once, each passing over what another has its hand on. MATERIALIZED keeps the planner
-- from choosing anew, and locking more, for every row it looks at.
WITH due AS MATERIALIZED (
    SELECT id FROM jobs WHERE due_at <= :now ORDER BY due_at LIMIT :most FOR UPDATE SKIP LOCKED
)
UPDATE jobs SET lease_epoch = lease_epoch + 1, lease_until = :until, due_at = :until,
    crashes = crashes + CASE WHEN lease_until IS NULL THEN 0 ELSE 1 END
WHERE id IN (SELECT id FROM due)
RETURNING *;

-- job_claim --
-- One suspect, whose turn to be tried it is.
UPDATE jobs SET lease_epoch = lease_epoch + 1, lease_until = :until, due_at = :until
WHERE id = :id AND lease_until IS NULL AND due_at IS NOT NULL AND (crashes >= :suspect OR aside_at IS NOT NULL)
RETURNING *;

-- line_join --
-- After the last of the same buyer, else beside the first in line, whatever models the two want of the account; who
-- waits for a model that rests (:resting, names in quotes) is first in no line meanwhile. However many wait, it reads
-- three rows of the index for each model. (SQLite wants a WHERE before ON CONFLICT.)
INSERT INTO lines (job, account, model, buyer, turn)
WITH RECURSIVE wanted (model) AS (
    SELECT min(model) FROM lines WHERE account = :account
    UNION ALL
    SELECT (SELECT min(lines.model) FROM lines WHERE account = :account AND lines.model > wanted.model)
    FROM wanted WHERE wanted.model IS NOT NULL
),
before AS (
    SELECT
        (
            SELECT max(turn) FROM lines
            WHERE account = :account AND lines.model = wanted.model AND buyer = :buyer
        ) AS own,
        (SELECT min(turn) FROM lines WHERE account = :account AND lines.model = wanted.model) AS least,
        replace(CAST(:resting AS TEXT), '"' || wanted.model || '"', '') <> CAST(:resting AS TEXT) AS rests
    FROM wanted WHERE wanted.model IS NOT NULL
)
SELECT CAST(:job AS TEXT), CAST(:account AS TEXT), CAST(:model AS TEXT), CAST(:buyer AS TEXT), 1 + coalesce(max(turn), 0)
FROM (
    SELECT max(own) AS turn FROM before
    UNION ALL
    SELECT coalesce(min(least) FILTER (WHERE NOT rests), min(least)) - 1 FROM before
) AS known
WHERE true
ON CONFLICT (job, account, model) DO NOTHING;

-- line_quit --
DELETE FROM lines WHERE job = :job AND account = :account AND model = :model;

-- line_leave --
DELETE FROM lines WHERE job = :job;

-- line_call --
-- In order of turn over the lines of several models, of each of which no more is read than could be its. Those whose
-- step is under way are passed over, and suspects, who are tried by themselves. CROSS JOIN makes SQLite begin with the
-- line.
UPDATE jobs SET lease_epoch = lease_epoch + 1, lease_until = :until, due_at = :until
WHERE id IN (
    SELECT first.job FROM json_each(:models) AS wanted CROSS JOIN lines AS first
    WHERE first.rowid IN (
        SELECT lines.rowid FROM lines CROSS JOIN jobs
        WHERE lines.account = :account AND lines.model = wanted.value
            AND jobs.id = lines.job AND jobs.state = 'queued' AND jobs.lease_until IS NULL AND jobs.crashes < :suspect
        ORDER BY lines.turn, lines.job LIMIT :most
    )
    GROUP BY first.job ORDER BY min(first.turn), first.job LIMIT :most
)
RETURNING *;

-- line_call on postgresql --
WITH first AS MATERIALIZED (
    SELECT free.id, free.turn
    FROM json_array_elements_text(CAST(CAST(:models AS TEXT) AS JSON)) AS wanted (model)
    CROSS JOIN LATERAL (
        SELECT jobs.id, lines.turn FROM lines JOIN jobs ON jobs.id = lines.job
        WHERE lines.account = :account AND lines.model = wanted.model AND jobs.state = 'queued'
            AND jobs.lease_until IS NULL AND jobs.crashes < :suspect
        ORDER BY lines.turn, lines.job LIMIT :most FOR UPDATE OF jobs SKIP LOCKED
    ) AS free
)
UPDATE jobs SET lease_epoch = lease_epoch + 1, lease_until = :until, due_at = :until
WHERE id IN (SELECT id FROM first GROUP BY id ORDER BY min(turn), id LIMIT :most)
RETURNING *;

-- line_rouse --
-- Whoever stands in this line comes now; who is in hand is.
UPDATE jobs SET due_at = :now
WHERE state = 'queued' AND lease_until IS NULL AND due_at > :now
    AND id IN (SELECT job FROM lines WHERE account = :account AND model = :model);

-- lines_all --
SELECT account, model FROM lines GROUP BY account, model;

-- lines_ahead --
-- How many come before a job at each account it stands in line at, whatever models they want there: turns go over all of
-- them. However many wait, it reads three rows of the index for each model, and :most of those before it.
WITH RECURSIVE mine AS (
    SELECT account, min(turn) AS turn FROM lines WHERE job = :job GROUP BY account
),
wanted (account, turn, model) AS (
    SELECT account, turn, (SELECT min(lines.model) FROM lines WHERE lines.account = mine.account) FROM mine
    UNION ALL
    SELECT account, turn,
        (SELECT min(lines.model) FROM lines WHERE lines.account = wanted.account AND lines.model > wanted.model)
    FROM wanted WHERE wanted.model IS NOT NULL
)
SELECT mine.account, (
    SELECT count(DISTINCT before.job) FROM (
        SELECT lines.job FROM wanted CROSS JOIN lines
        WHERE wanted.account = mine.account AND lines.account = wanted.account AND lines.model = wanted.model
            AND (lines.turn, lines.job) < (mine.turn, :job)
        LIMIT :most
    ) AS before
)
FROM mine;

-- lines_of_job --
SELECT account, model FROM lines WHERE job = :job;

-- jobs_next_due --
SELECT min(due_at) FROM jobs WHERE due_at IS NOT NULL;

-- jobs_keep --
-- Long steps (a download) keep their lease.
UPDATE jobs SET lease_until = :until, due_at = :until WHERE id = :id AND lease_epoch = :epoch AND lease_until IS NOT NULL;

-- job_give_back --
-- A worker that stops in the middle of a step need not be waited for.
UPDATE jobs SET lease_until = NULL, due_at = :now WHERE id = :id AND lease_epoch = :epoch AND lease_until IS NOT NULL;

-- job_put_off --
-- A look that its account has no turn left for comes again when it has one.
UPDATE jobs SET lease_until = NULL, due_at = :due WHERE id = :id AND lease_epoch = :epoch AND lease_until IS NOT NULL;

-- job_stumbled --
-- Its step raised: it is taken up again later, a bounded number of times.
UPDATE jobs SET lease_until = NULL, due_at = :due, faults = faults + 1
WHERE id = :id AND lease_epoch = :epoch AND lease_until IS NOT NULL;

-- jobs_give_back --
-- At start of the only process there can be on this database every lease is a ``dead`` one's, and counted; suspects that
-- the dead one had put off come to whoever tries them now; and what an open job waits for longer than anything is waited
-- for was written by a clock that has been set back since.
UPDATE jobs SET lease_until = NULL, due_at = :now,
    crashes = crashes + CASE WHEN :dead = 1 AND lease_until IS NOT NULL THEN 1 ELSE 0 END
WHERE due_at IS NOT NULL AND (
    (:dead = 1 AND (lease_until IS NOT NULL OR crashes >= :suspect)) OR (completed_at IS NULL AND due_at > :longest)
    OR (state IN ('failed', 'cancelled') AND expires_at IS NULL AND due_at > :doubted)
    OR (completed_at IS NOT NULL AND replace(abandoned, 'possibly_billed', '') <> abandoned AND due_at > :doubted)
);

-- jobs_reckon --
-- An open job from the future: the clock has been set back, and its time to live counts from now, once.
UPDATE jobs SET created_at = :now, deadline_at = :now + deadline_at - created_at
WHERE completed_at IS NULL AND due_at IS NOT NULL AND created_at > :now;

-- jobs_ahead --
-- No row comes back where there is none.
SELECT id FROM jobs WHERE completed_at IS NULL AND due_at IS NOT NULL AND created_at > :now LIMIT 1;

-- job_save --
UPDATE jobs SET
    state = :state, seq = :seq, updated_at = :updated_at, started_at = :started_at, completed_at = :completed_at,
    expires_at = :expires_at, due_at = :due_at, lease_until = :lease_until,
    tries = :tries, offer = :offer, account = :account,
    quote = :quote, attempt = :attempt, attempts = :attempts, task = :task, progress = :progress, outputs = :outputs,
    usage = :usage, warnings = :warnings, error = :error, hold = :hold,
    crashes = :crashes, faults = :faults, aside_at = :aside_at, abandoned = :abandoned
WHERE id = :id AND seq = :seq - 1 AND lease_epoch = :lease_epoch
RETURNING 1;

-- job_cancel --
-- Only a flag: the worker that holds the job, or the next one, acts on it.
UPDATE jobs SET cancel_requested = 1, due_at = CASE WHEN lease_until IS NULL THEN :now ELSE due_at END
WHERE id = :id AND tenant = :tenant AND deleted_at IS NULL AND completed_at IS NULL
RETURNING *;

-- job_delete --
-- What ended in doubt is looked at on, for its money.
UPDATE jobs SET deleted_at = :now,
    due_at = CASE WHEN expires_at IS NULL OR replace(abandoned, 'possibly_billed', '') <> abandoned THEN due_at ELSE NULL END
WHERE id = :id AND tenant = :tenant AND deleted_at IS NULL AND completed_at IS NOT NULL
RETURNING *;

-- jobs_by_state --
SELECT state, count(*) FROM jobs WHERE deleted_at IS NULL GROUP BY state;

-- jobs_oldest_queued --
SELECT min(created_at) FROM jobs WHERE state = 'queued' AND deleted_at IS NULL;

-- jobs_aside --
SELECT count(*) FROM jobs WHERE aside_at IS NOT NULL AND completed_at IS NULL;

-- jobs_in_doubt --
-- What ended and nobody can tell what it cost, or what the order did that was given up for its last; oldest first.
SELECT * FROM jobs WHERE state IN ('failed', 'cancelled') AND replace(hold, 'possibly_billed', '') <> hold
UNION
SELECT * FROM jobs WHERE completed_at IS NOT NULL AND replace(abandoned, 'possibly_billed', '') <> abandoned
ORDER BY id;

-- jobs_recall --
-- What an older program ended in doubt, or took up after that, is due for nobody: within the hour, not all at once.
UPDATE jobs SET due_at = :now + created_at % 3600000
WHERE id IN (
    SELECT id FROM jobs
    WHERE state IN ('failed', 'cancelled') AND replace(hold, 'possibly_billed', '') <> hold AND due_at IS NULL
    LIMIT 500
);

-- jobs_recall on postgresql --
UPDATE jobs SET due_at = :now + created_at % 3600000
WHERE id IN (
    SELECT id FROM jobs
    WHERE state IN ('failed', 'cancelled') AND replace(hold, 'possibly_billed', '') <> hold AND due_at IS NULL
    LIMIT 500 FOR UPDATE SKIP LOCKED
);

-- attempt_insert --
INSERT INTO attempts (id, job, number, offer, account, submit_class, outcome, usd_micros, intent_at, answered_at, ended_at, task, error)
VALUES (:id, :job, :number, :offer, :account, :submit_class, :outcome, :usd_micros, :intent_at, :answered_at, :ended_at, :task, :error)
RETURNING 1;

-- attempt_save --
UPDATE attempts SET outcome = :outcome, answered_at = coalesce(answered_at, :answered_at), ended_at = :ended_at,
    task = coalesce(:task, task), error = :error, clips = coalesce(:clips, clips), clips_ms = coalesce(:clips_ms, clips_ms)
WHERE id = :id
RETURNING 1;

-- attempt_told --
-- An answer that came when its job had gone on without it.
UPDATE attempts SET task = coalesce(task, :task), answered_at = coalesce(answered_at, :now) WHERE id = :id RETURNING 1;

-- attempts_of_job --
SELECT * FROM attempts WHERE job = :job ORDER BY number;

-- attempts_running --
SELECT account, count(*) FROM attempts WHERE outcome IN ('intent', 'unknown', 'accepted') GROUP BY account;

-- jobs_unknown --
-- For operators: orders nobody knows the fate of, oldest first.
SELECT * FROM jobs WHERE state = 'unknown' ORDER BY id;

-- buyer_has_room --
-- Asked after the job was put in; no row where its buyer has more under way than it may.
SELECT 1 WHERE (SELECT count(*) FROM jobs WHERE buyer = :buyer AND completed_at IS NULL) <= :most;

-- budget_open --
-- A budget begins with what became of the jobs of its window before it had a limit: its owner's, or everybody's.
-- ``missing`` keeps every later purchase from looking at all before it (CROSS JOIN makes SQLite begin there), the last
-- line from a sum over none.
INSERT INTO budgets (id, owner, period, first_job, last_job, held, spent, suspense, most)
SELECT :id, :owner, :period, :first_job, :last_job, held, spent, suspense, held + spent + suspense FROM (
    SELECT
        coalesce(sum(CASE 'held' WHEN credit THEN usd_micros WHEN debit THEN -usd_micros ELSE 0 END), 0) AS held,
        coalesce(sum(CASE 'spent' WHEN credit THEN usd_micros WHEN debit THEN -usd_micros ELSE 0 END), 0) AS spent,
        coalesce(sum(CASE 'suspense' WHEN credit THEN usd_micros WHEN debit THEN -usd_micros ELSE 0 END), 0) AS suspense
    FROM (SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM budgets WHERE id = :id)) AS missing CROSS JOIN (
        SELECT credit, debit, usd_micros FROM entries
        WHERE owner = :owner AND job >= :first_job AND job < :last_job
        UNION ALL
        SELECT credit, debit, usd_micros FROM entries
        WHERE :owner = 'instance' AND job >= :first_job AND job < :last_job
    ) AS moved
) AS before
WHERE NOT EXISTS (SELECT 1 FROM budgets WHERE id = :id)
ON CONFLICT (id) DO NOTHING;

-- budget_shift --
-- Whatever counts a job, with or without a limit now, is the owner's or everybody's, and its window holds the job.
UPDATE budgets SET held = held + :held, spent = spent + :spent, suspense = suspense + :suspense, most = most + :taken
WHERE owner IN (:owner, 'instance') AND first_job <= :job AND last_job > :job;

-- budget_fits --
-- Asked after the amount was set aside: touches no row where that was more than what was left.
UPDATE budgets SET most = :most WHERE id = :id AND spent + held + suspense <= :most;

-- budgets_within --
-- Those that count some of a stretch of jobs.
SELECT * FROM budgets WHERE first_job < :last AND last_job > :first ORDER BY id;

-- entry_insert --
INSERT INTO entries (id, job, kind, debit, credit, usd_micros, at, owner, provider, model, account)
VALUES (:id, :job, :kind, :debit, :credit, :usd_micros, :at, :owner, :provider, :model, :account);

-- entries_of_job --
SELECT * FROM entries WHERE job = :job ORDER BY at, id;

-- spent_by --
-- What was spent in a stretch of time, summed by everything it can be asked for by; a day is 86,400,000 ms. What cost
-- more than was held has two entries, and is one purchase; of a job that was ordered again both orders may be.
SELECT owner, provider, model, account, at / 86400000, sum(usd_micros), count(DISTINCT replace(id, '.excess', '.settle'))
FROM entries
WHERE credit = 'spent' AND at >= :since AND at < :until
GROUP BY owner, provider, model, account, at / 86400000
ORDER BY 5, 1, 2, 3, 4;

-- orders_by --
-- What came of the orders of a stretch of time, those of forgotten jobs included. Ids begin with the time they were made
-- at, so their index is one of times, too; what was found wrong with a clip stands in its job. Of a job that ended
-- without its clips they came late, or not at all: then it has none.
SELECT buyer, offer, account, outcome, took_ms / 1000, mismatched, late, CASE WHEN clips = 0 THEN 1 ELSE 0 END,
    count(*), coalesce(sum(clips), 0), coalesce(sum(clips_ms), 0)
FROM (
    SELECT coalesce(jobs.buyer, '') AS buyer, attempts.offer, attempts.account, attempts.outcome,
        attempts.ended_at - attempts.intent_at AS took_ms,
        CASE WHEN jobs.attempt = attempts.id AND jobs.warnings LIKE '%"type":"mismatch"%' THEN 1 ELSE 0 END AS mismatched,
        CASE WHEN jobs.state = 'succeeded' THEN 0 ELSE 1 END AS late,
        attempts.clips, attempts.clips_ms
    FROM attempts JOIN jobs ON jobs.id = attempts.job
    WHERE attempts.id >= :first AND attempts.id < :last
    UNION ALL
    SELECT buyer, offer, account, outcome, took_ms, mismatched, late, clips, clips_ms FROM past_orders
    WHERE id >= :first AND id < :last
) AS made
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;

-- attempts_took --
-- How many milliseconds the orders took whose clips were kept in time: of each offer the last few, newest last. However
-- many there are, no more than the newest of all are read.
SELECT offer, took FROM (
    SELECT newest.id, newest.offer, newest.took,
        row_number() OVER (PARTITION BY newest.offer ORDER BY newest.id DESC) AS place
    FROM (
        SELECT id, offer, took, kept FROM (
            SELECT recent.id, recent.offer, recent.ended_at - recent.intent_at AS took,
                CASE WHEN recent.outcome = 'succeeded' AND jobs.state = 'succeeded' AND jobs.attempt = recent.id
                    THEN 1 ELSE 0 END AS kept
            FROM (
                SELECT id, job, offer, outcome, intent_at, ended_at FROM attempts ORDER BY id DESC LIMIT :newest
            ) AS recent
            JOIN jobs ON jobs.id = recent.job
            UNION ALL
            SELECT id, offer, took_ms, CASE WHEN outcome = 'succeeded' AND late = 0 THEN 1 ELSE 0 END
            FROM (SELECT id, offer, outcome, took_ms, late FROM past_orders ORDER BY id DESC LIMIT :newest) AS past
        ) AS known
        ORDER BY id DESC LIMIT :newest
    ) AS newest
    WHERE newest.kept = 1
) AS made
WHERE place <= :each ORDER BY id;

-- buying_allowed --
-- No row while an operator has halted purchases, nor for a job its client has cancelled.
SELECT 1 FROM jobs
WHERE id = :job AND cancel_requested = 0 AND NOT EXISTS (SELECT 1 FROM switches WHERE name = 'halt');

-- switch_on --
INSERT INTO switches (name, at, why) VALUES (:name, :at, :why) ON CONFLICT (name) DO NOTHING;

-- switch_off --
DELETE FROM switches WHERE name = :name;

-- switches_all --
SELECT name, at, why FROM switches ORDER BY name;

-- places_lock on postgresql --
-- Held to the end of a transaction that opens an attempt, taken before any row of it: so the count below sees every
-- attempt that was opened before, in whatever process, and nobody waits for somebody who waits for him.
SELECT pg_advisory_xact_lock(hashtext('reelgate.places'));

-- buyer_lock on postgresql --
-- Likewise: so that of two processes that count a buyer's jobs at the same time the later sees what the earlier put in.
SELECT pg_advisory_xact_lock(hashtext('reelgate.buyer'), hashtext(:buyer));

-- budgets_share on postgresql --
-- Held by whoever moves budgets: who opens one waits until what it begins with is all there.
SELECT pg_advisory_xact_lock_shared(hashtext('reelgate.budgets'));

-- budgets_lock on postgresql --
-- Held by who opens a budget, and by nobody for one that is there: who moves it meanwhile waits until it is.
SELECT pg_advisory_xact_lock(hashtext('reelgate.budgets')) WHERE NOT EXISTS (SELECT 1 FROM budgets WHERE id = :id);

-- budgets_rows on postgresql --
-- What a transaction changes is locked before anything else of it, here and in the next three, the values being lists:
-- in one order for everybody, so that nobody waits for somebody who waits for him. Every budget whose window holds one
-- of the jobs, and perhaps some between them.
SELECT id FROM budgets
WHERE owner = ANY (CAST(:owners AS TEXT[]) || CAST('instance' AS TEXT))
    AND first_job <= (SELECT max(job COLLATE "C") FROM unnest(CAST(:jobs AS TEXT[])) AS moved (job))
    AND last_job > (SELECT min(job COLLATE "C") FROM unnest(CAST(:jobs AS TEXT[])) AS moved (job))
ORDER BY id FOR NO KEY UPDATE;

-- jobs_rows on postgresql --
SELECT id FROM jobs WHERE id = ANY (CAST(:ids AS TEXT[])) ORDER BY id FOR NO KEY UPDATE;

-- endpoints_rows on postgresql --
SELECT id FROM endpoints
WHERE id = ANY (CAST(:ids AS TEXT[])) OR (id = ANY (CAST(:worked AS TEXT[])) AND failing_since IS NOT NULL)
ORDER BY id FOR UPDATE;

-- deliveries_rows on postgresql --
SELECT id FROM deliveries
WHERE id = ANY (CAST(:ids AS TEXT[])) OR (endpoint = ANY (CAST(:endpoints AS TEXT[])) AND state IN ('pending', 'held'))
    OR job = ANY (CAST(:jobs AS TEXT[]))
ORDER BY id FOR NO KEY UPDATE;

-- place_kept --
-- Answers nothing where an account has more attempts open than it may.
SELECT 1 WHERE :most >= (
    SELECT count(*) FROM attempts WHERE account = :account AND outcome IN ('intent', 'unknown', 'accepted')
);

-- key_insert --
INSERT INTO keys (id, name, tenant, hash, scopes, created_at, expires_at, revoked_at, policy, limits)
VALUES (:id, :name, :tenant, :hash, :scopes, :created_at, :expires_at, :revoked_at, :policy, :limits);

-- key_by_hash --
SELECT * FROM keys WHERE hash = :hash;

-- key_by_id --
SELECT * FROM keys WHERE id = :id;

-- keys_all --
SELECT * FROM keys ORDER BY created_at, id;

-- keys_count --
SELECT count(*) FROM keys;

-- key_revoke --
UPDATE keys SET revoked_at = :now WHERE id = :id AND revoked_at IS NULL RETURNING *;

-- key_limit --
-- No row comes back where somebody changed it meanwhile, or it is not in force.
UPDATE keys SET limits = :limits
WHERE id = :id AND revoked_at IS NULL AND coalesce(limits, '') = :before AND (expires_at IS NULL OR expires_at > :now)
RETURNING *;

-- budget_used --
-- What counts against a budget: its sums, or where no purchase has opened it yet, what it would begin with.
SELECT coalesce(
    (SELECT held + spent + suspense FROM budgets WHERE id = :id),
    (
        SELECT sum(CASE 'available' WHEN debit THEN usd_micros WHEN credit THEN -usd_micros ELSE 0 END)
        FROM entries WHERE owner = :owner AND job >= :first_job AND job < :last_job
    ),
    0
);

-- jobs_of_buyer --
SELECT count(*) FROM jobs WHERE buyer = :buyer AND completed_at IS NULL;

-- file_insert --
INSERT INTO files (id, tenant, filename, purpose, media_type, sha256, bytes, width, height, created_at, seconds, expires_at)
VALUES (:id, :tenant, :filename, :purpose, :media_type, :sha256, :bytes, :width, :height, :created_at, :seconds, :expires_at);

-- file_of_tenant --
SELECT * FROM files WHERE id = :id AND tenant = :tenant AND (expires_at IS NULL OR expires_at > :now);

-- files_newest --
SELECT * FROM files WHERE tenant = :tenant AND id < :after AND (expires_at IS NULL OR expires_at > :now)
AND (CAST(:purpose AS TEXT) IS NULL OR purpose = CAST(:purpose AS TEXT)) ORDER BY id DESC LIMIT :most;

-- files_oldest --
SELECT * FROM files WHERE tenant = :tenant AND id > :after AND (expires_at IS NULL OR expires_at > :now)
AND (CAST(:purpose AS TEXT) IS NULL OR purpose = CAST(:purpose AS TEXT)) ORDER BY id LIMIT :most;

-- file_delete --
DELETE FROM files WHERE id = :id AND tenant = :tenant RETURNING *;

-- files_sweep --
DELETE FROM files WHERE id IN (SELECT id FROM files WHERE expires_at <= :now ORDER BY expires_at LIMIT :most)
RETURNING id;

-- file_with --
SELECT id FROM files WHERE sha256 = :sha256 LIMIT 1;

-- jobs_with_inputs --
-- A page of the jobs that still have a use for their inputs: those under way, and those whose clips are kept, or that
-- ended without one no longer ago than clips are kept.
SELECT id, wish FROM jobs
WHERE id > :after AND deleted_at IS NULL AND wish LIKE '%"sha256":%'
AND (completed_at IS NULL OR expires_at > :now OR (expires_at IS NULL AND completed_at > :since))
ORDER BY id LIMIT :most;

-- job_retire --
-- A deleted job whose clips could not be removed: a worker tries again.
UPDATE jobs SET due_at = :now WHERE id = :id AND deleted_at IS NOT NULL;

-- version_table on postgresql --
CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY);

-- version_lock on postgresql --
-- Of several processes that start at once one brings the tables up to date, and the others wait.
SELECT pg_advisory_xact_lock(hashtext('reelgate.version'));

-- limits_lifted on postgresql --
-- Within a transaction: a large store's upgrade is waited for.
SELECT set_config('lock_timeout', '0', true);

-- version_there on postgresql --
SELECT to_regclass('schema_version') IS NOT NULL;

-- version_read on postgresql --
SELECT coalesce(max(version), 0) FROM schema_version;

-- version_keep on postgresql --
INSERT INTO schema_version (version) VALUES (:version);

-- notify on postgresql --
SELECT pg_notify('reelgate_due', '');

-- clock_read on postgresql --
SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT);

-- arrival_lock on postgresql --
-- Of several processes that start at once one is the first.
SELECT pg_advisory_xact_lock(hashtext('reelgate.arrival'));

-- arrival_first on postgresql --
-- No row comes back where another process has arrived and lives: each holds a lock for as long as it does.
SELECT true WHERE NOT EXISTS (
    SELECT 1 FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND pid <> pg_backend_pid()
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid = 1919247724 AND objid = 1
);

-- arrival on postgresql --
-- The number spells "reel" in bytes: locks are known by numbers alone.
SELECT pg_advisory_lock_shared(1919247724, 1);

-- limits on postgresql --
-- A process that freezes in the middle of a commit holds nobody up for longer than this. Said once the session is
-- there: a pooler knows of no such things at its start.
SELECT set_config('lock_timeout', '10s', false), set_config('idle_in_transaction_session_timeout', '10s', false);

-- session_mark on postgresql --
SELECT set_config('reelgate.session', CAST(:mark AS TEXT), false);

-- session_read on postgresql --
SELECT current_setting('reelgate.session', true);

-- rights on postgresql --
-- Whether this role may make tables where they would be made, whether those that are there are its own, and whether
-- it may write at all.
SELECT
    current_user, current_schema(), coalesce(has_schema_privilege(current_schema(), 'CREATE'), false),
    coalesce((SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('jobs')), true),
    current_setting('transaction_read_only') = 'on';

-- tables_denied on postgresql --
-- What this role may not both read and write, where our tables lie.
SELECT relname, current_user, CAST(CAST(relnamespace AS regnamespace) AS TEXT) FROM pg_class
WHERE relkind IN ('r', 'p')
AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('schema_version'))
AND NOT (
    has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
    AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE')
);

-- durable on postgresql --
-- A commit that is answered is on disk, whatever the server was told; more than that (a replica's word) stays.
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';

-- endpoint_insert --
INSERT INTO endpoints (
    id, tenant, name, url, host, event_types, version, old_until, created_at, updated_at, failing_since, disabled_at,
    disabled_why
) VALUES (
    :id, :tenant, :name, :url, :host, :event_types, :version, :old_until, :created_at, :updated_at, :failing_since,
    :disabled_at, :disabled_why
);

-- endpoint_save --
UPDATE endpoints SET
    name = :name, url = :url, host = :host, event_types = :event_types, version = :version, old_until = :old_until,
    updated_at = :updated_at, failing_since = :failing_since, disabled_at = :disabled_at, disabled_why = :disabled_why
WHERE id = :id AND tenant = :tenant;

-- endpoint_read --
SELECT * FROM endpoints WHERE id = :id;

-- endpoint_of_tenant --
SELECT * FROM endpoints WHERE id = :id AND tenant = :tenant;

-- endpoints_newest --
SELECT * FROM endpoints WHERE tenant = :tenant AND id < :after ORDER BY id DESC LIMIT :most;

-- endpoints_oldest --
SELECT * FROM endpoints WHERE tenant = :tenant AND id > :after ORDER BY id LIMIT :most;

-- endpoint_delete --
DELETE FROM endpoints WHERE id = :id AND tenant = :tenant;

-- endpoint_worked --
UPDATE endpoints SET failing_since = NULL WHERE id = :id AND url = :url AND failing_since IS NOT NULL;

-- endpoint_failed --
UPDATE endpoints SET failing_since = coalesce(failing_since, :now) WHERE id = :id AND url = :url;

-- endpoint_disable --
UPDATE endpoints SET disabled_at = :now, disabled_why = :why WHERE id = :id AND url = :url AND disabled_at IS NULL;

-- callback_secret --
SELECT version, old_until FROM callback_secrets WHERE tenant = :tenant;

-- callback_secret_rotate --
INSERT INTO callback_secrets (tenant, version, old_until) VALUES (:tenant, 1, NULL)
ON CONFLICT (tenant) DO UPDATE SET version = callback_secrets.version + 1, old_until = :old_until
RETURNING version, old_until;

-- deliveries_insert --
-- To every endpoint that asked for this type and not also for the more exact one; a disabled one's are held for it.
INSERT INTO deliveries (id, event, tenant, job, endpoint, url, host, type, created_at, due_at, lease_until, state, tries, step, ended_at)
SELECT
    CAST(:event AS TEXT) || '_' || id, CAST(:event AS TEXT), tenant, CAST(:job AS TEXT), id, '', host,
    CAST(:type AS TEXT), CAST(:now AS BIGINT),
    CASE WHEN disabled_at IS NULL THEN CAST(:now AS BIGINT) ELSE NULL END, NULL,
    CASE WHEN disabled_at IS NULL THEN 'pending' ELSE 'held' END, 0, 0, NULL
FROM endpoints
WHERE tenant = :tenant
AND ' ' || event_types || ' ' LIKE '% ' || CAST(:type AS TEXT) || ' %'
AND ' ' || event_types || ' ' NOT LIKE '% ' || CAST(:unless AS TEXT) || ' %';

-- delivery_insert --
INSERT INTO deliveries (id, event, tenant, job, endpoint, url, host, type, created_at, due_at, lease_until, state, tries, step, ended_at)
VALUES (:id, :event, :tenant, :job, :endpoint, :url, :host, :type, :created_at, :due_at, :lease_until, :state, :tries, :step, :ended_at)
ON CONFLICT (id) DO NOTHING;

-- deliveries_claim --
-- A few for each host that is not busy, so that no host keeps the others waiting. ``busy`` is hosts between spaces,
-- ``full`` tenants who have enough under way, each in quotes.
UPDATE deliveries SET lease_until = :until, due_at = :until
WHERE id IN (
    SELECT id FROM (
        SELECT id, due_at, row_number() OVER (PARTITION BY host ORDER BY due_at) AS place FROM (
            SELECT id, due_at, host FROM deliveries
            WHERE due_at <= :now AND CAST(:busy AS TEXT) NOT LIKE '% ' || host || ' %'
            AND replace(CAST(:full AS TEXT), '"' || tenant || '"', '') = CAST(:full AS TEXT)
            ORDER BY due_at LIMIT 512
        ) AS due
    ) AS ranked
    WHERE place <= :each ORDER BY due_at LIMIT :most
)
AND due_at <= :now
RETURNING *;

-- deliveries_claim on postgresql --
-- As with jobs: what another process has its hand on is neither waited for nor taken.
WITH first AS MATERIALIZED (
    SELECT id FROM (
        SELECT id, due_at, row_number() OVER (PARTITION BY host ORDER BY due_at) AS place FROM (
            SELECT id, due_at, host FROM deliveries
            WHERE due_at <= :now AND CAST(:busy AS TEXT) NOT LIKE '% ' || host || ' %'
            AND replace(CAST(:full AS TEXT), '"' || tenant || '"', '') = CAST(:full AS TEXT)
            ORDER BY due_at LIMIT 512
        ) AS due
    ) AS ranked
    WHERE place <= :each ORDER BY due_at LIMIT :most
), free AS MATERIALIZED (
    SELECT id FROM deliveries WHERE id IN (SELECT id FROM first) AND due_at <= :now FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE deliveries SET lease_until = :until, due_at = :until
WHERE id IN (SELECT id FROM free)
RETURNING *;

-- deliveries_next_due --
SELECT min(due_at) FROM deliveries WHERE due_at > :now;

-- deliveries_give_back --
-- As with jobs: a lease is a dead one's; and who is from the future, or waits for longer than the longest gap (a day and
-- a tenth), was written by a clock that has been set back since.
UPDATE deliveries SET lease_until = NULL, due_at = :now
WHERE due_at IS NOT NULL
AND ((:dead = 1 AND lease_until IS NOT NULL) OR created_at > :now OR due_at > :now + 95040000);

-- delivery_save --
-- What was dropped or held while its try was under way stays so, unless the receiver has it now: it is not due again.
UPDATE deliveries SET
    tries = :tries, step = :step, lease_until = NULL,
    due_at = CASE WHEN state = 'pending' THEN :due_at ELSE due_at END,
    ended_at = CASE WHEN state = 'pending' OR CAST(:state AS TEXT) = 'delivered' THEN :ended_at ELSE ended_at END,
    state = CASE WHEN state = 'pending' OR CAST(:state AS TEXT) = 'delivered' THEN CAST(:state AS TEXT) ELSE state END
WHERE id = :id AND tries = :tries - 1;

-- delivery_put_off --
UPDATE deliveries SET due_at = :due, lease_until = NULL WHERE id = :id AND tries = :tries AND lease_until = :until
AND due_at IS NOT NULL;

-- delivery_replay --
UPDATE deliveries SET due_at = :now, lease_until = NULL, state = 'pending', step = 0, ended_at = NULL
WHERE id = :id AND tenant = :tenant AND lease_until IS NULL
RETURNING *;

-- deliveries_hold --
UPDATE deliveries SET due_at = NULL, lease_until = NULL, state = 'held' WHERE endpoint = :endpoint AND due_at IS NOT NULL
AND EXISTS (SELECT 1 FROM endpoints WHERE id = :endpoint AND disabled_at IS NOT NULL);

-- deliveries_unhold --
UPDATE deliveries SET due_at = :now, state = 'pending', step = 0 WHERE endpoint = :endpoint AND state = 'held';

-- deliveries_drop --
UPDATE deliveries SET due_at = NULL, lease_until = NULL, state = 'dropped', ended_at = :now
WHERE endpoint = :endpoint AND state IN ('pending', 'held');

-- deliveries_move --
UPDATE deliveries SET host = :host WHERE endpoint = :endpoint AND state IN ('pending', 'held');

-- delivery_of_tenant --
SELECT * FROM deliveries WHERE id = :id AND tenant = :tenant;

-- deliveries_of_endpoint --
SELECT * FROM deliveries WHERE endpoint = :endpoint AND tenant = :tenant AND id < :after ORDER BY id DESC LIMIT :most;

-- deliveries_of_job --
SELECT * FROM deliveries WHERE job = :job AND tenant = :tenant ORDER BY id;

-- try_insert --
INSERT INTO tries (delivery, number, at, took_ms, status, error) VALUES (:delivery, :number, :at, :took_ms, :status, :error);

-- tries_of_delivery --
SELECT * FROM tries WHERE delivery = :delivery ORDER BY number;

-- tries_sweep --
DELETE FROM tries WHERE delivery IN (SELECT id FROM deliveries WHERE due_at IS NULL AND created_at <= :before ORDER BY created_at LIMIT 1000);

-- deliveries_sweep --
DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE due_at IS NULL AND created_at <= :before ORDER BY created_at LIMIT 1000);

-- hook_insert --
INSERT INTO hooks (hash, attempt, task) VALUES (:hash, :attempt, NULL);

-- hook_read --
-- The last column says whether it may still bring a look about: its job is under way with it, or ended in doubt; or
-- gave it up, and does not know yet what it cost.
SELECT attempts.id, attempts.job, attempts.account, attempts.task, hooks.task,
    CASE WHEN jobs.due_at IS NOT NULL AND (
        (
            jobs.attempt = attempts.id
            AND (jobs.completed_at IS NULL OR (jobs.state IN ('failed', 'cancelled') AND jobs.expires_at IS NULL))
        )
        OR (
            replace(jobs.abandoned, attempts.id, '') <> jobs.abandoned
            AND replace(jobs.abandoned, 'possibly_billed', '') <> jobs.abandoned
        )
    ) THEN 1 ELSE 0 END
FROM hooks JOIN attempts ON attempts.id = hooks.attempt JOIN jobs ON jobs.id = attempts.job WHERE hooks.hash = :hash;

-- hook_hint --
UPDATE hooks SET task = :task WHERE hash = :hash;

-- hook_task --
SELECT task FROM hooks WHERE attempt = :attempt AND task IS NOT NULL;

-- hook_forget --
UPDATE hooks SET task = NULL WHERE attempt = :attempt AND task = :task;

-- job_hasten --
-- Earlier, never later; a job whose step is under way is looked at again by whoever holds it. One that has ended is due
-- for its money, until its clips are to be removed.
UPDATE jobs SET due_at = :due WHERE id = :id AND lease_until IS NULL AND due_at > :due
    AND (completed_at IS NULL OR (state IN ('failed', 'cancelled') AND expires_at IS NULL) OR replace(abandoned, 'possibly_billed', '') <> abandoned);

-- job_schedule --
SELECT due_at, lease_until FROM jobs WHERE id = :id AND due_at IS NOT NULL
    AND (completed_at IS NULL OR (state IN ('failed', 'cancelled') AND expires_at IS NULL) OR replace(abandoned, 'possibly_billed', '') <> abandoned);

-- job_seq --
SELECT seq FROM jobs WHERE id = :id;

-- task_take --
-- No row comes back where the task is another attempt's, or was.
INSERT INTO tasks (account, task, attempt)
SELECT CAST(:account AS TEXT), CAST(:task AS TEXT), CAST(:attempt AS TEXT)
WHERE NOT EXISTS (SELECT 1 FROM past_tasks WHERE account = CAST(:account AS TEXT) AND task = CAST(:task AS TEXT))
ON CONFLICT (account, task) DO UPDATE SET attempt = excluded.attempt WHERE tasks.attempt = excluded.attempt
RETURNING 1;

-- task_drop --
DELETE FROM tasks WHERE account = :account AND task = :task AND attempt = :attempt;

-- task_note --
INSERT INTO tasks (account, task, attempt) VALUES (:account, :task, :attempt) ON CONFLICT (account, task) DO NOTHING;

-- task_owner --
SELECT attempt FROM past_tasks WHERE account = :account AND task = :task
UNION ALL SELECT attempt FROM tasks WHERE account = :account AND task = :task;

-- evidence_keep --
INSERT INTO evidence (attempt, kind, at, said) VALUES (:attempt, :kind, :at, :said)
ON CONFLICT (attempt, kind) DO UPDATE SET at = excluded.at, said = excluded.said;

-- evidence_of_job --
SELECT evidence.attempt, evidence.kind, evidence.at, evidence.said
FROM evidence JOIN attempts ON attempts.id = evidence.attempt
WHERE attempts.job = :job ORDER BY evidence.at, evidence.kind;

-- orphan_note --
INSERT INTO orphans (attempt, task, account, job, found_at, seen_at)
VALUES (:attempt, :task, :account, :job, :found_at, NULL) ON CONFLICT (attempt, task) DO NOTHING;

-- orphans_unseen --
SELECT * FROM orphans WHERE seen_at IS NULL ORDER BY found_at, attempt;

-- orphan_seen --
UPDATE orphans SET seen_at = :now WHERE attempt = :attempt AND seen_at IS NULL RETURNING attempt;

-- jobs_old --
-- A page of the jobs that ended by a time, and what each is kept for all the same; those to be forgotten alone unless
-- ``everybody`` is asked for. Ids begin with the time a job was accepted at, which is no later than its end.
SELECT id, tenant, clips, kept FROM (
    SELECT jobs.id, jobs.tenant, CASE WHEN jobs.outputs = '[]' THEN 0 ELSE 1 END AS clips,
        CASE
            WHEN replace(jobs.hold, 'possibly_billed', '') <> jobs.hold OR 0 <> (
                SELECT coalesce(sum(
                    CASE WHEN credit IN ('held', 'suspense') THEN usd_micros ELSE 0 END
                    - CASE WHEN debit IN ('held', 'suspense') THEN usd_micros ELSE 0 END
                ), 0)
                FROM entries WHERE entries.job = jobs.id
            ) THEN 'money'
            WHEN EXISTS (
                SELECT 1 FROM attempts WHERE attempts.job = jobs.id AND outcome IN ('intent', 'unknown', 'accepted')
            ) THEN 'order'
            WHEN EXISTS (
                SELECT 1 FROM deliveries WHERE deliveries.job = jobs.id AND deliveries.state IN ('pending', 'held')
            ) THEN 'webhook'
            WHEN EXISTS (
                SELECT 1 FROM idempotency WHERE idempotency.job = jobs.id AND idempotency.expires_at > :now
            ) THEN 'repeat'
            WHEN EXISTS (
                SELECT 1 FROM attempts JOIN orphans ON orphans.attempt = attempts.id
                WHERE attempts.job = jobs.id AND orphans.seen_at IS NULL
            ) THEN 'orphan'
            WHEN jobs.lease_until IS NOT NULL THEN 'step'
        END AS kept
    FROM jobs
    WHERE jobs.id >= :first AND jobs.id < :last AND jobs.completed_at <= :before
        AND jobs.state IN ('succeeded', 'failed', 'cancelled')
) AS old
WHERE CAST(:everybody AS BIGINT) = 1 OR kept IS NULL
ORDER BY id LIMIT :most;

-- past_orders_keep --
-- What ``orders_by`` reads of a job's orders.
INSERT INTO past_orders (id, buyer, offer, account, outcome, took_ms, mismatched, late, clips, clips_ms)
SELECT attempts.id, coalesce(jobs.buyer, ''), attempts.offer, attempts.account, attempts.outcome,
    attempts.ended_at - attempts.intent_at,
    CASE WHEN jobs.attempt = attempts.id AND jobs.warnings LIKE '%"type":"mismatch"%' THEN 1 ELSE 0 END,
    CASE WHEN jobs.state = 'succeeded' THEN 0 ELSE 1 END,
    attempts.clips, attempts.clips_ms
FROM attempts JOIN jobs ON jobs.id = attempts.job WHERE attempts.job = :id;

-- past_tasks_keep --
INSERT INTO past_tasks (account, task, attempt)
SELECT account, task, attempt FROM tasks WHERE attempt IN (SELECT id FROM attempts WHERE job = :id)
ON CONFLICT (account, task) DO NOTHING;

-- forget_tasks --
DELETE FROM tasks WHERE attempt IN (SELECT id FROM attempts WHERE job = :id);

-- forget_hooks --
DELETE FROM hooks WHERE attempt IN (SELECT id FROM attempts WHERE job = :id);

-- forget_evidence --
DELETE FROM evidence WHERE attempt IN (SELECT id FROM attempts WHERE job = :id);

-- forget_orphans --
-- What nobody has seen to stays on the list, whatever becomes of its job; what a receipt alone tells of has no attempt
-- here, and stays too: it would be found again.
DELETE FROM orphans WHERE seen_at IS NOT NULL AND attempt IN (SELECT id FROM attempts WHERE job = :id);

-- forget_attempts --
DELETE FROM attempts WHERE job = :id;

-- forget_tries --
DELETE FROM tries WHERE delivery IN (SELECT id FROM deliveries WHERE job = :id AND state NOT IN ('pending', 'held'));

-- forget_deliveries --
-- One that is to be sent again since it was looked at stays, and its job with it.
DELETE FROM deliveries WHERE job = :id AND state NOT IN ('pending', 'held');

-- forget_repeats --
DELETE FROM idempotency WHERE job = :id;

-- forget_job --
DELETE FROM jobs WHERE id = :id
RETURNING 1;

-- forgotten_note --
INSERT INTO marks (name, at) VALUES ('forgotten', :before)
ON CONFLICT (name) DO UPDATE SET at = excluded.at WHERE marks.at < excluded.at;

-- forgotten_read --
SELECT at FROM marks WHERE name = 'forgotten';
