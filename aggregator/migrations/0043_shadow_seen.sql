-- What was seen that ended a session, 'back' or 'gone': a description may show otherwise again, also after a restart.
ALTER TABLE shadow_session ADD COLUMN seen TEXT;
