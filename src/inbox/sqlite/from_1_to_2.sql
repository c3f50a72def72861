-- From version 1 to 2: keys are no longer unique by one index over all of them, but by generation. `claim_key` becomes
-- `claim`, so that a process of the older program, which knows nothing of generations, can accept nothing any more.

CREATE TABLE countersign_inbox_2 (
  number         INTEGER PRIMARY KEY AUTOINCREMENT,
  claim          BLOB NOT NULL,               -- the claim key; no two rows have the same
  fingerprint    BLOB NOT NULL,
  state          INTEGER NOT NULL,            -- 0 pending, 1 running, 2 waiting, 3 done, 4 dead
  due_at         INTEGER NOT NULL,            -- milliseconds, as all times: may run from, or end of the lease
  attempts       INTEGER NOT NULL DEFAULT 0,  -- counted when they begin
  silent         INTEGER NOT NULL DEFAULT 0,  -- how many of the last attempts ended without a word
  token          BLOB,                        -- of the present lease
  entity         TEXT,
  finished_at    INTEGER,
  received_at    INTEGER NOT NULL,
  signed_at      INTEGER,
  source         TEXT NOT NULL,
  tenant         TEXT,
  delivery_id    TEXT,
  event_type     TEXT,
  key_id         TEXT NOT NULL,
  authenticated  INTEGER NOT NULL,            -- bits: 1 body, 2 id, 4 time, 8 event type
  content_digest BLOB,
  last_error     TEXT
) STRICT;

INSERT INTO countersign_inbox_2 SELECT * FROM countersign_inbox;
-- A number is never given twice, even where the last rows have been forgotten.
DELETE FROM sqlite_sequence WHERE name = 'countersign_inbox_2';
INSERT INTO sqlite_sequence SELECT 'countersign_inbox_2', seq FROM sqlite_sequence WHERE name = 'countersign_inbox';
DROP TABLE countersign_inbox;
ALTER TABLE countersign_inbox_2 RENAME TO countersign_inbox;

CREATE INDEX countersign_inbox_pending ON countersign_inbox (due_at) WHERE state = 0;
CREATE INDEX countersign_inbox_running ON countersign_inbox (due_at, silent) WHERE state = 1;
CREATE INDEX countersign_inbox_entity ON countersign_inbox (entity, number, state)
  WHERE entity IS NOT NULL AND state < 3;
CREATE INDEX countersign_inbox_done ON countersign_inbox (finished_at) WHERE state = 3;
CREATE INDEX countersign_inbox_dead ON countersign_inbox (finished_at) WHERE state = 4;

CREATE TABLE countersign_inbox_key (
  generation INTEGER NOT NULL,                -- the number without its last 13 bits
  hash       INTEGER NOT NULL,                -- the first 8 bytes of the claim key, the lowest first
  number     INTEGER NOT NULL,
  PRIMARY KEY (generation, hash, number)
) STRICT, WITHOUT ROWID;

INSERT INTO countersign_inbox_schema VALUES (2);
