-- The order of a job that was given up for another while nobody knew its fate, and what became of its money.
ALTER TABLE jobs ADD COLUMN abandoned TEXT;

-- What ended and of whose first order nobody can tell yet what it cost.
CREATE INDEX jobs_duplicate ON jobs (id)
WHERE completed_at IS NOT NULL AND replace(abandoned, 'possibly_billed', '') <> abandoned;
