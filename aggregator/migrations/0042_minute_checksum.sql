-- From here on a minute has a CRC-32 of what it says; older ones have none and are read without.
ALTER TABLE minute ADD COLUMN checksum BIGINT;
