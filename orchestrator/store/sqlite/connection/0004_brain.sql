-- How many jobs were ever made, which rows that are forgotten do not tell.
CREATE TABLE jobs_made (
    number INTEGER NOT NULL
) STRICT;

INSERT INTO jobs_made (number) SELECT coalesce(max(pk), 0) FROM jobs;

-- How long models took to load, apart from the service of the jobs that waited for them.
CREATE TABLE load_times (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    engine TEXT NOT NULL,
    model TEXT NOT NULL,
    gpu_class TEXT NOT NULL,
    seconds REAL NOT NULL
) STRICT;

CREATE INDEX load_times_by_kind ON load_times (engine, model, gpu_class, id);
