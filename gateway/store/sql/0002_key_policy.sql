-- How offers are chosen for a key's callers where they leave it open; NULL for the gateway's own policy.
ALTER TABLE keys ADD COLUMN policy TEXT;
