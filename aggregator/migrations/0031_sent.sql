-- When a call may have gone out for the first time: written before it. What was written before this column may have been sent.
ALTER TABLE intent ADD COLUMN sent_at BIGINT;
UPDATE intent SET sent_at = written_at;
