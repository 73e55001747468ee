-- How far a copy of another store has come, while it is made: the key of the last row of a table.

CREATE TABLE copied (
    name TEXT NOT NULL PRIMARY KEY,
    position TEXT NOT NULL
) @clustered;

-- For PostgreSQL only. Bodies and headers are not worth compressing again and again: packs do it
-- once. Counters and flags change often: room in their pages lets them change in place.

@postgres ALTER TABLE blob ALTER COLUMN data SET STORAGE EXTERNAL;
@postgres ALTER TABLE content ALTER COLUMN header SET STORAGE EXTERNAL;
@postgres ALTER TABLE content ALTER COLUMN structure SET STORAGE EXTERNAL;
@postgres ALTER TABLE content ALTER COLUMN envelope SET STORAGE EXTERNAL;
@postgres ALTER TABLE content ALTER COLUMN bodystructure SET STORAGE EXTERNAL;
@postgres ALTER TABLE outgoing ALTER COLUMN header SET STORAGE EXTERNAL;
@postgres ALTER TABLE mailbox SET (fillfactor = 50);
@postgres ALTER TABLE account SET (fillfactor = 50);
@postgres ALTER TABLE placement SET (fillfactor = 90);
@postgres ALTER TABLE queue SET (fillfactor = 80);
