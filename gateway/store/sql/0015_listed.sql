-- A tenant's jobs of some states and offers, whichever are asked for: for each pair the next ids lie together. It begins
-- with the state, so it also counts jobs by that, and the index that did no more is not needed.
CREATE INDEX jobs_listed ON jobs (state, tenant, offer, id) WHERE deleted_at IS NULL;
DROP INDEX jobs_by_state;
