-- What the clouds say of an instance, and whose machine it is.
ALTER TABLE workers ADD COLUMN address TEXT;
ALTER TABLE workers ADD COLUMN host_id TEXT;
ALTER TABLE workers ADD COLUMN owned INTEGER NOT NULL DEFAULT 0 CHECK (owned IN (0, 1));

CREATE INDEX workers_instances ON workers (provider, instance_id) WHERE instance_id IS NOT NULL;

-- What the provider's own records say that it billed, where they do.
ALTER TABLE leases ADD COLUMN billed_s REAL CHECK (billed_s >= 0);
ALTER TABLE leases ADD COLUMN instance_id TEXT;

UPDATE leases SET instance_id = (SELECT instance_id FROM workers WHERE workers.id = leases.worker_id);

-- Physical machines that failed workers of ours, each once for a worker and a reason.
CREATE TABLE host_faults (
    provider TEXT NOT NULL,
    host_id TEXT NOT NULL,
    worker_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (worker_id, reason)
) STRICT;

CREATE INDEX host_faults_by_time ON host_faults (at);
