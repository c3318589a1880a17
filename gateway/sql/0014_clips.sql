-- What came of an order that was made: how many of its clips were kept, none where all were lost, and how long they are
-- together. It outlives the clips. NULL for what was not made, and for what ended before this was noted.
ALTER TABLE attempts ADD COLUMN clips INTEGER;
ALTER TABLE attempts ADD COLUMN clips_ms BIGINT;
