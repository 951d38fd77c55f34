-- Whether an attempt began with the load of its model.
ALTER TABLE attempts ADD COLUMN loads INTEGER NOT NULL DEFAULT 0 CHECK (loads IN (0, 1));

-- What was seen, decided and not done, and why: of the plans that did something, or whose blocks were new.
CREATE TABLE plans (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    record TEXT NOT NULL
) STRICT;

CREATE INDEX plans_at ON plans (at, id);
