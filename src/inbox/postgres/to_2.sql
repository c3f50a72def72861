-- Version 2: the inbox itself knows for how long it remembers.

CREATE TABLE {schema}.inbox_retention (
  only_row     boolean PRIMARY KEY CHECK (only_row),
  milliseconds bigint NOT NULL                -- the longest that a receiver or worker has come with
);
INSERT INTO {schema}.inbox_retention VALUES (true, 0);
