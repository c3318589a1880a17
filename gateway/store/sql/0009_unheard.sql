-- Whether a create's caller hung up before it was answered: the same call by the same caller is then a repeat of it.
ALTER TABLE idempotency ADD COLUMN unheard INTEGER NOT NULL DEFAULT 0;
