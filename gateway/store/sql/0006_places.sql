-- How many attempts an account has open is asked before each order where several processes order.
CREATE INDEX attempts_open_of_account ON attempts (account) WHERE outcome IN ('intent', 'unknown', 'accepted');
