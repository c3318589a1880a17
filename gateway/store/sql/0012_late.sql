-- What ended in doubt is looked at on, until evidence comes or its time is over.
CREATE INDEX jobs_in_doubt ON jobs (id)
WHERE state IN ('failed', 'cancelled') AND replace(hold, 'possibly_billed', '') <> hold;
