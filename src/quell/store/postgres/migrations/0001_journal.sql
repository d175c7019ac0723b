-- The journal, the rows beside it, and who owns it. Long bodies need no table of their own: PostgreSQL keeps them apart from
-- their rows by itself. Names compare byte by byte, as they do in SQLite, whatever the database's language is.

-- Every session's id that was ever used. It is not used again.
CREATE TABLE ids (
    id text COLLATE "C" PRIMARY KEY
);

-- One row a session, written in the statement of every append. `summary` is the whole row as JSON; the other columns are what
-- lists are searched and sorted by. `folded` is the title without case.
CREATE TABLE sessions (
    key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text COLLATE "C" NOT NULL UNIQUE,
    seq bigint NOT NULL,
    workspace text COLLATE "C" NOT NULL,
    parent text COLLATE "C" NOT NULL,
    folded text COLLATE "C" NOT NULL,
    updated text COLLATE "C" NOT NULL,
    busy boolean NOT NULL,
    summary bytea NOT NULL
);
CREATE INDEX sessions_by_update ON sessions (updated, id);
CREATE INDEX sessions_by_workspace ON sessions (workspace, updated, id);
CREATE INDEX sessions_by_parent ON sessions (parent, updated, id);
CREATE INDEX sessions_busy ON sessions (id) WHERE busy;

-- `body` is the line that clients are sent too. `message` is the message that the fact records, whose draft is of no use from
-- then on. What belongs to a session goes with it also when it was written at the same moment: hence the reference.
CREATE TABLE facts (
    session bigint NOT NULL REFERENCES sessions ON DELETE CASCADE,
    seq bigint NOT NULL,
    message text COLLATE "C",
    body bytea NOT NULL,
    PRIMARY KEY (session, seq)
);
CREATE INDEX facts_by_message ON facts (session, message) WHERE message IS NOT NULL;

-- The text streamed so far of a message that is not recorded yet.
CREATE TABLE drafts (
    session bigint PRIMARY KEY REFERENCES sessions ON DELETE CASCADE,
    message text COLLATE "C" NOT NULL,
    reply bytea NOT NULL
);

-- What the facts up to `seq` fold to, readable by one version of the code. May be deleted at any time.
CREATE TABLE snapshots (
    session bigint PRIMARY KEY REFERENCES sessions ON DELETE CASCADE,
    seq bigint NOT NULL,
    at text NOT NULL,
    version text NOT NULL,
    state bytea NOT NULL,
    view bytea NOT NULL
);

-- The lease. `generation` is that of the last claim; whoever writes what only the owner may names the one that it has claimed.
-- `process` is nobody's name but that of one server's life; `host` is for people.
CREATE TABLE owner (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    generation bigint NOT NULL,
    process text NOT NULL,
    host text NOT NULL,
    expires timestamptz NOT NULL
);
INSERT INTO owner (generation, process, host, expires) VALUES (0, '', '', '-infinity');

-- How often each process has written: the sum of the others' is how one notices what no bell told of.
CREATE TABLE writers (
    process text PRIMARY KEY,
    writes bigint NOT NULL,
    last timestamptz NOT NULL
);
