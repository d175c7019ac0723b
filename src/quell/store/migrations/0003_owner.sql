-- Who performs effects, and what saves reading a session from its first fact.

-- The generation of the last claim. Whoever writes what only the owner may names the generation that it has claimed.
CREATE TABLE owner (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    generation INTEGER NOT NULL
);
INSERT INTO owner (one, generation) VALUES (1, 0);

-- What the facts up to `seq` fold to, readable by one version of the code. May be deleted at any time.
CREATE TABLE snapshots (
    session INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    at TEXT NOT NULL,
    version TEXT NOT NULL,
    state BLOB NOT NULL,
    view BLOB NOT NULL
);
