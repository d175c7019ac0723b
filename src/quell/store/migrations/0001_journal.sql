-- The journal, the rows beside it, and the drafts. Everything but `facts`, `blobs` and `deleted` can be rebuilt or done
-- without.

-- One row a session, written in the transaction of every append. `summary` is the whole row as JSON; the other columns
-- are what lists are searched and sorted by. `folded` is the title without case.
CREATE TABLE sessions (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    seq INTEGER NOT NULL,
    workspace TEXT NOT NULL,
    folded TEXT NOT NULL,
    updated TEXT NOT NULL,
    busy INTEGER NOT NULL,
    summary BLOB NOT NULL
);
CREATE INDEX sessions_by_update ON sessions (updated, id);
CREATE INDEX sessions_by_workspace ON sessions (workspace, updated, id);
CREATE INDEX sessions_busy ON sessions (id) WHERE busy;

-- The facts of a session lie together, in order. `body` is the line that clients are sent too; a long one is in
-- `blobs`. `message` is the message that the fact records, whose draft is of no use from then on.
CREATE TABLE facts (
    session INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    message TEXT,
    body BLOB,
    blob BLOB,
    PRIMARY KEY (session, seq),
    CHECK ((body IS NULL) <> (blob IS NULL))
) WITHOUT ROWID;
CREATE INDEX facts_by_message ON facts (session, message) WHERE message IS NOT NULL;
CREATE INDEX facts_by_blob ON facts (blob) WHERE blob IS NOT NULL;

-- Long bodies by their SHA-256; a fork shares those of its origin.
CREATE TABLE blobs (
    sha256 BLOB NOT NULL PRIMARY KEY,
    body BLOB NOT NULL
);

-- The text streamed so far of a message that is not recorded yet.
CREATE TABLE drafts (
    session INTEGER PRIMARY KEY,
    message TEXT NOT NULL,
    reply BLOB NOT NULL
);

-- The ids that were used, and are not used again.
CREATE TABLE deleted (
    id TEXT NOT NULL PRIMARY KEY
) WITHOUT ROWID;
