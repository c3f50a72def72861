-- The inbox, version 1. `{schema}` stands for the schema's name.

CREATE SEQUENCE {schema}.inbox_numbers;

-- What was accepted; never changed. So the index on random keys, the one whose pages nothing else keeps warm, is written
-- once for each delivery and not again with each of its states.
CREATE TABLE {schema}.inbox_delivery (
  number         bigint PRIMARY KEY,
  claim_key      bytea NOT NULL UNIQUE,
  fingerprint    bytea NOT NULL,
  received_at    bigint NOT NULL,             -- milliseconds since 1970, as all times
  signed_at      bigint,
  source         text NOT NULL,
  tenant         text,
  delivery_id    text,
  event_type     text,
  key_id         text NOT NULL,
  entity         text,
  authenticated  smallint NOT NULL,           -- bits: 1 body, 2 id, 4 time, 8 event type
  content_digest bytea,
  headers        text NOT NULL,               -- JSON: pairs of a name and a value in hexadecimal
  body           bytea NOT NULL
);
ALTER SEQUENCE {schema}.inbox_numbers OWNED BY {schema}.inbox_delivery.number;

-- What becomes of it: a short row that is written three times.
CREATE TABLE {schema}.inbox (
  number         bigint PRIMARY KEY,
  state          smallint NOT NULL,           -- 0 pending, 1 running, 2 waiting, 3 done, 4 dead
  due_at         bigint NOT NULL,             -- may run from, or end of the lease
  attempts       integer NOT NULL DEFAULT 0,  -- counted when they begin
  silent         integer NOT NULL DEFAULT 0,  -- how many of the last attempts ended without a word
  token          bytea NOT NULL,              -- of the last lease, or of the accept where there was none yet
  entity         bigint,                      -- what it is serialised by, as a hash
  finished_at    bigint,
  last_error     text
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

-- What is to run, in the order in which it becomes due. What is done, which is most, is in neither of these two.
CREATE INDEX inbox_pending ON {schema}.inbox (due_at, number) WHERE state = 0;
-- What is leased: no more than there are hands, however long the queue is.
CREATE INDEX inbox_running ON {schema}.inbox (due_at, number) WHERE state = 1;
-- Who is next of an entity.
CREATE INDEX inbox_entity ON {schema}.inbox (entity, number) WHERE entity IS NOT NULL AND state < 3;
-- What may be forgotten.
CREATE INDEX inbox_done ON {schema}.inbox (finished_at) WHERE state = 3;
CREATE INDEX inbox_dead ON {schema}.inbox (finished_at) WHERE state = 4;
