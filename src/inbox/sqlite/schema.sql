-- The inbox, version 3. The names are prefixed because handlers write into the same database.

CREATE TABLE countersign_inbox_schema (version INTEGER NOT NULL) STRICT;
INSERT INTO countersign_inbox_schema VALUES (3);

-- One row a delivery, short, so that many of them share a page: a delivery is written three times.
CREATE TABLE countersign_inbox (
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

-- What is to run, in the order in which it becomes due. What is done, which is most, is in neither of these two.
CREATE INDEX countersign_inbox_pending ON countersign_inbox (due_at) WHERE state = 0;
-- What is leased: no more than there are hands, however long the queue is.
CREATE INDEX countersign_inbox_running ON countersign_inbox (due_at, silent) WHERE state = 1;
-- Who is next of an entity.
CREATE INDEX countersign_inbox_entity ON countersign_inbox (entity, number, state)
  WHERE entity IS NOT NULL AND state < 3;
-- What may be forgotten.
CREATE INDEX countersign_inbox_done ON countersign_inbox (finished_at) WHERE state = 3;
CREATE INDEX countersign_inbox_dead ON countersign_inbox (finished_at) WHERE state = 4;

-- Who has a key, cut by age: see keys.rs. That no two rows have the same claim is looked at before each insert, in the
-- one transaction that may write.
CREATE TABLE countersign_inbox_key (
  generation INTEGER NOT NULL,                -- the number without its last 13 bits
  hash       INTEGER NOT NULL,                -- the first 8 bytes of the claim key, the lowest first
  number     INTEGER NOT NULL,
  PRIMARY KEY (generation, hash, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE countersign_inbox_payload (
  number  INTEGER PRIMARY KEY,
  headers TEXT NOT NULL,                      -- JSON: pairs of a name and a value in hexadecimal
  body    BLOB NOT NULL
) STRICT;

CREATE TABLE countersign_inbox_retention (
  milliseconds INTEGER NOT NULL               -- one row: the longest that a receiver or worker has opened it with
) STRICT;
INSERT INTO countersign_inbox_retention VALUES (0);
