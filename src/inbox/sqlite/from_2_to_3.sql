-- From version 2 to 3: the inbox itself knows for how long it remembers.

CREATE TABLE countersign_inbox_retention (
  milliseconds INTEGER NOT NULL               -- one row: the longest that a receiver or worker has opened it with
) STRICT;
INSERT INTO countersign_inbox_retention VALUES (0);

INSERT INTO countersign_inbox_schema VALUES (3);
