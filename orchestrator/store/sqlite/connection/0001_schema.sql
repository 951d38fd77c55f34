-- Jobs alike share one need: its canonical JSON, which names only what is not the default.
CREATE TABLE job_groups (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    need TEXT NOT NULL UNIQUE
) STRICT;

-- The wide columns come last, so that what scans the narrow ones never reads their pages.
CREATE TABLE jobs (
    pk INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    group_id INTEGER NOT NULL REFERENCES job_groups (id),
    owner TEXT NOT NULL,
    engine TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ({job_states})),
    created_at REAL NOT NULL,
    must_start_by REAL NOT NULL,
    complete_by REAL NOT NULL,
    start_by REAL,
    max_time_s REAL NOT NULL CHECK (max_time_s > 0),
    retries INTEGER NOT NULL CHECK (retries >= 0),
    attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    attempt_id INTEGER,
    started_at REAL,
    finished_at REAL,
    idempotency_key TEXT,
    request_hash TEXT NOT NULL,
    retry_of TEXT,
    notify_url TEXT,
    fault TEXT,
    metadata TEXT NOT NULL,
    input TEXT NOT NULL,
    result TEXT,
    CHECK ((attempt_id IS NOT NULL) = (state IN ('running', 'succeeded'))),
    CHECK ((finished_at IS NULL) = (state IN ('queued', 'running'))),
    CHECK ((result IS NOT NULL) = (state = 'succeeded'))
) STRICT;

-- The next job of each group, and the loose scan over the groups that wait.
CREATE INDEX jobs_head ON jobs (group_id, must_start_by, created_at, pk) WHERE state = 'queued';
-- The oldest of each group, their count, and whether a group still has any job.
CREATE INDEX jobs_by_group ON jobs (group_id, state, created_at);
CREATE INDEX jobs_running ON jobs (owner) WHERE state = 'running';
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE UNIQUE INDEX jobs_idempotent ON jobs (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX jobs_listed ON jobs (created_at, id);
CREATE INDEX jobs_listed_by_state ON jobs (state, created_at, id);
CREATE INDEX jobs_listed_by_owner ON jobs (owner, created_at, id);

-- A loose index scan: one seek for each group that has a queued job, however many it has.
CREATE VIEW waiting_groups (group_id) AS
WITH RECURSIVE waiting (group_id) AS (
    SELECT min(group_id) FROM jobs INDEXED BY jobs_head WHERE state = 'queued'
    UNION ALL
    SELECT (SELECT min(j.group_id) FROM jobs j INDEXED BY jobs_head
            WHERE j.state = 'queued' AND j.group_id > waiting.group_id)
    FROM waiting WHERE waiting.group_id IS NOT NULL
)
SELECT group_id FROM waiting WHERE group_id IS NOT NULL;

-- An id is never used twice: it fences the reports of attempts that ended long ago.
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job_pk INTEGER NOT NULL REFERENCES jobs (pk),
    number INTEGER NOT NULL CHECK (number >= 1),
    worker_id TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    nonce TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ({attempt_states})),
    phase TEXT NOT NULL,
    progress REAL NOT NULL CHECK (progress BETWEEN 0 AND 1),
    started_at REAL NOT NULL,
    reported_at REAL NOT NULL,
    message TEXT,
    slot_freed_at REAL,
    ended_at REAL,
    fault TEXT,
    report_hash TEXT,
    UNIQUE (job_pk, number),
    UNIQUE (worker_id, incarnation, nonce),
    CHECK ((ended_at IS NULL) = (state = 'running'))
) STRICT;

CREATE UNIQUE INDEX attempts_one_runs ON attempts (job_pk) WHERE state = 'running';
CREATE INDEX attempts_of_worker ON attempts (worker_id) WHERE state = 'running';

CREATE TABLE workers (
    id TEXT PRIMARY KEY,
    provider TEXT NOT NULL,
    gpu_class TEXT NOT NULL,
    offered_class TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ({worker_states})),
    usd_per_hour REAL NOT NULL CHECK (usd_per_hour >= 0),
    state_at REAL NOT NULL,
    intended_at REAL NOT NULL,
    buy_at REAL NOT NULL,
    creating_at REAL,
    ready_at REAL,
    key_hash TEXT NOT NULL,
    boot_billed INTEGER NOT NULL CHECK (boot_billed IN (0, 1)),
    granularity_s REAL NOT NULL,
    min_billed_s REAL NOT NULL,
    instance_id TEXT,
    incarnation TEXT,
    capacity INTEGER NOT NULL DEFAULT 1 CHECK (capacity >= 1),
    vram_gb REAL NOT NULL DEFAULT 0,
    capabilities TEXT NOT NULL DEFAULT '[]',
    resident TEXT NOT NULL DEFAULT '[]',
    heartbeat_at REAL,
    claim_at REAL,
    last_finish_at REAL,
    jobs_done INTEGER NOT NULL DEFAULT 0,
    lease_ends_at REAL,
    paused INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    probe_failures INTEGER NOT NULL DEFAULT 0,
    error TEXT
) STRICT;

CREATE INDEX workers_alive ON workers (intended_at, id) WHERE state <> 'gone';
CREATE INDEX workers_gone ON workers (state_at) WHERE state = 'gone';
CREATE INDEX workers_listed ON workers (intended_at, id);

-- Money is remembered for longer than workers and attempts are, so a lease carries its own sums.
CREATE TABLE leases (
    worker_id TEXT PRIMARY KEY,
    provider TEXT NOT NULL,
    gpu_class TEXT NOT NULL,
    usd_per_hour REAL NOT NULL,
    started_at REAL NOT NULL,
    ended_at REAL,
    granularity_s REAL NOT NULL,
    min_billed_s REAL NOT NULL,
    busy_s REAL NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX leases_ended ON leases (ended_at);

CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    who TEXT NOT NULL,
    job_pk INTEGER REFERENCES jobs (pk),
    worker_id TEXT,
    seq INTEGER NOT NULL,
    before TEXT,
    after TEXT,
    reason TEXT,
    data TEXT NOT NULL,
    CHECK ((job_pk IS NULL) = (seq = 0))
) STRICT;

CREATE UNIQUE INDEX events_of_job ON events (job_pk, seq) WHERE job_pk IS NOT NULL;
CREATE INDEX events_of_worker ON events (worker_id, id) WHERE worker_id IS NOT NULL;

CREATE TABLE service_times (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    engine TEXT NOT NULL,
    model TEXT NOT NULL,
    gpu_class TEXT NOT NULL,
    seconds REAL NOT NULL
) STRICT;

CREATE INDEX service_times_by_kind ON service_times (engine, model, gpu_class, id);

CREATE TABLE boot_times (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    provider TEXT NOT NULL,
    gpu_class TEXT NOT NULL,
    seconds REAL NOT NULL
) STRICT;

CREATE INDEX boot_times_by_kind ON boot_times (provider, gpu_class, id);

CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job_pk INTEGER NOT NULL REFERENCES jobs (pk),
    url TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    due_at REAL NOT NULL,
    done_at REAL,
    last_error TEXT
) STRICT;

CREATE INDEX deliveries_due ON deliveries (due_at, id) WHERE done_at IS NULL;
CREATE INDEX deliveries_of_job ON deliveries (job_pk, id);

CREATE TABLE delivery_tries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery_id INTEGER NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    at REAL NOT NULL,
    status INTEGER,
    error TEXT
) STRICT;

CREATE INDEX delivery_tries_by_delivery ON delivery_tries (delivery_id, id);

CREATE TABLE uploads (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    "key" TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    content_type TEXT NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL
) STRICT;

CREATE INDEX uploads_expiring ON uploads (expires_at);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    created_at REAL NOT NULL,
    revoked_at REAL
) STRICT;

CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    written_at REAL NOT NULL,
    who TEXT NOT NULL
) STRICT;
