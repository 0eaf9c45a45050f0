-- From here on bodies of ticks and chunks, and what is held of a stream, have a checksum; older ones are read without. No table
-- is another: a build that does not know the checksums is told so before it opens them.
SELECT 1;
