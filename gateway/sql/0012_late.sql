-- What ended in doubt is looked at on, until evidence comes or its time is over; what did so before, too.
UPDATE jobs SET due_at = completed_at
WHERE state IN ('failed', 'cancelled') AND due_at IS NULL AND hold LIKE '%"billing":"possibly_billed"%';

CREATE INDEX jobs_in_doubt ON jobs (id) WHERE state IN ('failed', 'cancelled') AND due_at IS NOT NULL AND expires_at IS NULL;
