-- Who may do what, what is theirs, and who did what.
CREATE TABLE subscriptions (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    queued_max INTEGER CHECK (queued_max >= 0),
    running_max INTEGER CHECK (running_max >= 0),
    usd_per_day_max REAL CHECK (usd_per_day_max >= 0),
    requests_per_s REAL CHECK (requests_per_s > 0)
) STRICT;

INSERT INTO subscriptions (id, name) VALUES (1, 'Default');

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('admin', 'operator', 'submitter', 'viewer')),
    created_at REAL NOT NULL,
    email TEXT UNIQUE CHECK (email = lower(email)),
    subscription_id INTEGER NOT NULL DEFAULT 1 REFERENCES subscriptions (id),
    active INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1)),
    password_hash TEXT,
    session_version INTEGER NOT NULL DEFAULT 1,
    webhook_version INTEGER NOT NULL DEFAULT 1,
    webhook_rotated_at REAL
) STRICT;

-- Whoever calls on the loopback while there are no keys.
INSERT INTO users (id, name, role, created_at) VALUES ('', 'anonymous', 'admin', 0);

-- Every key is somebody's: those from before become users of their own, under the ids that own their jobs.
INSERT INTO users (id, name, role, created_at) SELECT id, name, role, created_at FROM api_keys;

CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL REFERENCES users (id),
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('admin', 'operator', 'submitter', 'viewer')),
    prefix TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    created_at REAL NOT NULL,
    scopes TEXT NOT NULL DEFAULT '[]',
    expires_at REAL,
    last_used_at REAL,
    revoked_at REAL
) STRICT;

INSERT INTO keys (id, owner, name, role, prefix, hash, created_at, revoked_at)
SELECT id, id, name, role, substr(hash, 1, 12), hash, created_at, revoked_at FROM api_keys;
DROP TABLE api_keys;

CREATE INDEX keys_by_prefix ON keys (prefix);
CREATE INDEX keys_by_owner ON keys (owner, created_at);

CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    owner TEXT NOT NULL REFERENCES users (id),
    created_at REAL NOT NULL,
    queued_max INTEGER CHECK (queued_max >= 0),
    running_max INTEGER CHECK (running_max >= 0),
    usd_per_day_max REAL CHECK (usd_per_day_max >= 0),
    data TEXT NOT NULL DEFAULT '{}'
) STRICT;

CREATE TABLE members (
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id),
    right TEXT NOT NULL CHECK (right IN ('read', 'write')),
    PRIMARY KEY (project_id, user_id)
) STRICT;

CREATE INDEX members_by_user ON members (user_id, project_id);

-- The integers by which other systems' clients know what has a longer id here.
CREATE TABLE aliases (
    surface TEXT NOT NULL,
    kind TEXT NOT NULL,
    number INTEGER NOT NULL CHECK (number >= 1),
    owner TEXT NOT NULL,
    target TEXT NOT NULL,
    PRIMARY KEY (surface, kind, number),
    UNIQUE (surface, kind, target)
) STRICT;

CREATE INDEX aliases_by_target ON aliases (target);

-- The last one given, so that no number ever stands for a second thing.
CREATE TABLE alias_counters (
    surface TEXT NOT NULL,
    kind TEXT NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (surface, kind)
) STRICT;

ALTER TABLE uploads ADD COLUMN stored_at REAL;
ALTER TABLE uploads ADD COLUMN parts_id TEXT;
UPDATE uploads SET stored_at = created_at;
CREATE INDEX uploads_listed ON uploads (created_at, id);
CREATE INDEX uploads_listed_by_owner ON uploads (owner, created_at, id);

CREATE TABLE assets (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    owner TEXT NOT NULL,
    project_id TEXT REFERENCES projects (id),
    created_at REAL NOT NULL
) STRICT;

CREATE UNIQUE INDEX assets_of_project ON assets (project_id, name) WHERE project_id IS NOT NULL;
CREATE UNIQUE INDEX assets_of_owner ON assets (owner, name) WHERE project_id IS NULL;

CREATE TABLE asset_versions (
    asset_id TEXT NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
    number INTEGER NOT NULL CHECK (number >= 1),
    "key" TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    created_at REAL NOT NULL,
    created_by TEXT NOT NULL,
    metadata TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (asset_id, number)
) STRICT;

CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    who TEXT NOT NULL,
    key_id TEXT,
    origin TEXT NOT NULL,
    what TEXT NOT NULL,
    target TEXT NOT NULL,
    before TEXT,
    after TEXT
) STRICT;

CREATE INDEX audit_by_who ON audit (who, id);
CREATE INDEX audit_by_target ON audit (target, id);
CREATE INDEX audit_by_time ON audit (at);

-- A worker may serve some queues only.
ALTER TABLE workers ADD COLUMN queues TEXT NOT NULL DEFAULT '[]';

-- A job may be a project's, and a delivery is its job's owner's.
ALTER TABLE jobs ADD COLUMN project TEXT NOT NULL DEFAULT '';
CREATE INDEX jobs_listed_by_project ON jobs (project, created_at, id) WHERE project <> '';
CREATE INDEX jobs_queued_by_owner ON jobs (owner) WHERE state = 'queued';
CREATE INDEX jobs_queued_by_project ON jobs (project) WHERE state = 'queued' AND project <> '';
CREATE INDEX jobs_running_by_project ON jobs (project) WHERE state = 'running' AND project <> '';
ALTER TABLE deliveries ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN created_at REAL NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN held_since REAL;
UPDATE deliveries SET owner = (SELECT owner FROM jobs WHERE jobs.pk = deliveries.job_pk), created_at = due_at;
CREATE INDEX deliveries_by_owner ON deliveries (owner, id);
CREATE INDEX deliveries_failed ON deliveries (id) WHERE done_at IS NOT NULL AND last_error IS NOT NULL;

-- What each attempt cost while it held its slot, kept when its job is forgotten: budgets must not forget it.
CREATE TABLE spending (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    owner TEXT NOT NULL,
    project TEXT NOT NULL,
    held_from REAL NOT NULL,
    held_until REAL NOT NULL,
    usd_per_hour REAL NOT NULL
) STRICT;

CREATE INDEX spending_by_owner ON spending (owner, held_until);
CREATE INDEX spending_by_project ON spending (project, held_until) WHERE project <> '';
CREATE INDEX spending_by_time ON spending (held_until);

INSERT INTO spending (owner, project, held_from, held_until, usd_per_hour)
SELECT j.owner, '', a.started_at, coalesce(a.slot_freed_at, a.ended_at), w.usd_per_hour
FROM attempts a JOIN jobs j ON j.pk = a.job_pk JOIN workers w ON w.id = a.worker_id
WHERE coalesce(a.slot_freed_at, a.ended_at) IS NOT NULL;
