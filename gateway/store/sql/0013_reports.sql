-- How many jobs are in each state, without a look at any of them.
CREATE INDEX jobs_by_state ON jobs (state) WHERE deleted_at IS NULL;

-- What a budget of one owner begins with.
CREATE INDEX entries_of_owner ON entries (owner, job);
