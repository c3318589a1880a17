-- What a job did to those who stepped it. Both counts are of steps in a row, and any move it makes ends the row:
-- steps in the middle of which its worker died, though another may have been the reason; and steps that raised.
-- aside_at is since when it is left alone.
ALTER TABLE jobs ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN faults INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN aside_at BIGINT;

CREATE INDEX jobs_aside ON jobs (id) WHERE aside_at IS NOT NULL;
