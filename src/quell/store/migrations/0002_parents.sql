-- Whose sub-agent a session is; empty: nobody's. There was none before this.
ALTER TABLE sessions ADD COLUMN parent TEXT NOT NULL DEFAULT '';
CREATE INDEX sessions_by_parent ON sessions (parent, updated, id);
