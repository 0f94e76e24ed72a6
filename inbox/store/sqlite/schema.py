"""The tables of the first migration, which never changes; `schema` has what came later."""

TABLES = """
CREATE TABLE events (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    source            TEXT NOT NULL,
    key               TEXT NOT NULL,
    type              TEXT NOT NULL,
    status            TEXT NOT NULL CHECK (status IN
        ('received', 'quarantined', 'conflict', 'unhandled', 'processing', 'succeeded', 'dead')),
    received_at       REAL NOT NULL,
    size              INTEGER NOT NULL,
    body_digest       BLOB NOT NULL,
    content_digest    BLOB NOT NULL,
    verified_by       TEXT NOT NULL,
    violations        TEXT,
    conflict_of       INTEGER REFERENCES events (id),
    retired           INTEGER NOT NULL DEFAULT 0,
    bound             INTEGER NOT NULL DEFAULT 0,
    duplicates        INTEGER NOT NULL DEFAULT 0,
    last_duplicate_at REAL
) STRICT;
CREATE UNIQUE INDEX events_key ON events (source, key) WHERE conflict_of IS NULL AND retired = 0;
CREATE UNIQUE INDEX events_conflict ON events (conflict_of, content_digest) WHERE conflict_of IS NOT NULL;
CREATE INDEX events_bound ON events (source, content_digest) WHERE bound = 1 AND conflict_of IS NULL AND retired = 0;
CREATE INDEX events_retired ON events (source, key, received_at) WHERE retired = 1;
CREATE INDEX events_unrouted ON events (id) WHERE status = 'received';
CREATE INDEX events_status ON events (status, id);
CREATE INDEX events_source ON events (source, id);

CREATE TABLE bodies (
    event_id INTEGER PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE,
    method   TEXT NOT NULL,
    path     TEXT NOT NULL,
    query    TEXT NOT NULL,
    headers  TEXT NOT NULL,
    remote   TEXT NOT NULL,
    body     BLOB NOT NULL
) STRICT;

CREATE TABLE handlers (
    name      TEXT PRIMARY KEY,
    module    TEXT NOT NULL,
    marks     TEXT NOT NULL,
    failure   TEXT NOT NULL,
    removed   INTEGER NOT NULL DEFAULT 0,
    loaded_at REAL NOT NULL
) STRICT;

CREATE TABLE replays (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         REAL NOT NULL,
    who        TEXT NOT NULL,
    why        TEXT NOT NULL,
    selection  TEXT NOT NULL,
    handler    TEXT,
    ended_at   REAL,
    events     INTEGER,
    deliveries INTEGER
) STRICT;

CREATE TABLE deliveries (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id    INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    handler     TEXT NOT NULL,
    replay_id   INTEGER NOT NULL DEFAULT 0,
    status      TEXT NOT NULL CHECK (status IN
        ('pending', 'running', 'retrying', 'parked', 'succeeded', 'dead', 'discarded', 'cancelled')),
    attempts    INTEGER NOT NULL DEFAULT 0,
    crashes     INTEGER NOT NULL DEFAULT 0,
    token       TEXT,
    worker      TEXT,
    lease_until REAL,
    due_at      REAL NOT NULL,
    created_at  REAL NOT NULL,
    finished_at REAL,
    value       TEXT,
    error       TEXT NOT NULL DEFAULT '',
    UNIQUE (event_id, handler, replay_id)
) STRICT;
CREATE INDEX deliveries_waiting ON deliveries (due_at) WHERE status IN ('pending', 'retrying');
CREATE INDEX deliveries_running ON deliveries (lease_until) WHERE status = 'running';
CREATE INDEX deliveries_parked ON deliveries (handler) WHERE status = 'parked';

CREATE TABLE attempts (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery_id INTEGER NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    number      INTEGER NOT NULL,
    token       TEXT NOT NULL UNIQUE,
    worker      TEXT NOT NULL,
    started_at  REAL NOT NULL,
    finished_at REAL,
    result      TEXT NOT NULL DEFAULT 'running',
    error       TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX attempts_delivery ON attempts (delivery_id);

CREATE TABLE refusals (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    source    TEXT NOT NULL,
    at        REAL NOT NULL,
    code      TEXT NOT NULL,
    reason    TEXT NOT NULL,
    diagnosis TEXT NOT NULL,
    method    TEXT NOT NULL,
    remote    TEXT NOT NULL,
    headers   TEXT NOT NULL,
    size      INTEGER,
    bytes     INTEGER NOT NULL
) STRICT;
CREATE INDEX refusals_source ON refusals (source, id, bytes);

CREATE TABLE held (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    source     TEXT NOT NULL,
    at         REAL NOT NULL,
    expires_at REAL NOT NULL,
    method     TEXT NOT NULL,
    path       TEXT NOT NULL,
    query      TEXT NOT NULL,
    headers    TEXT NOT NULL,
    remote     TEXT NOT NULL,
    body       BLOB NOT NULL,
    bytes      INTEGER NOT NULL
) STRICT;
CREATE INDEX held_source ON held (source, id, bytes);
CREATE INDEX held_expires ON held (expires_at);

CREATE TABLE probes (id INTEGER PRIMARY KEY CHECK (id = 1), at REAL NOT NULL) STRICT;
"""
