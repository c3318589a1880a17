-- Who waits for a place at a full account, as long as the job is queued: a line for every account and model. Turns
-- go round the buyers: the first job of each, then the second.
CREATE TABLE lines (
    job TEXT NOT NULL REFERENCES jobs (id),
    account TEXT NOT NULL,
    model TEXT NOT NULL,
    buyer TEXT NOT NULL,
    turn BIGINT NOT NULL,
    PRIMARY KEY (job, account, model)
);

CREATE INDEX lines_in_turn ON lines (account, model, turn, job);
CREATE INDEX lines_of_buyer ON lines (account, model, buyer, turn);
