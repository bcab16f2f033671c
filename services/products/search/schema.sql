-- The search index. All of it is derived from the database and may be deleted.

CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS products (
    row           INTEGER PRIMARY KEY,
    id            TEXT NOT NULL UNIQUE,
    version       INTEGER NOT NULL,
    is_active     INTEGER NOT NULL,
    category      TEXT NOT NULL,
    price         INTEGER NOT NULL,  -- minor units
    in_stock      INTEGER NOT NULL,
    sold_quantity INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,  -- milliseconds since 1970
    name          TEXT NOT NULL
);

-- Hardly any product is off sale, so skipping those costs nothing, and the same indexes serve staff.
CREATE INDEX IF NOT EXISTS newest ON products (created_at, id);
CREATE INDEX IF NOT EXISTS named ON products (name, id);
CREATE INDEX IF NOT EXISTS priced ON products (price, id);
CREATE INDEX IF NOT EXISTS popular ON products (sold_quantity, id);
CREATE INDEX IF NOT EXISTS newest_of_category ON products (category, created_at, id);
CREATE INDEX IF NOT EXISTS named_of_category ON products (category, name, id);
CREATE INDEX IF NOT EXISTS priced_of_category ON products (category, price, id);
CREATE INDEX IF NOT EXISTS popular_of_category ON products (category, sold_quantity, id);

CREATE VIRTUAL TABLE IF NOT EXISTS texts USING fts5 (name, category, description, tokenize = 'unicode61', detail = column);

-- The words of names again, with fewer others between them, and their number ("w3").
CREATE VIRTUAL TABLE IF NOT EXISTS names USING fts5 (name, category, length, tokenize = 'unicode61', detail = column);

CREATE TABLE IF NOT EXISTS words (word TEXT PRIMARY KEY, products INTEGER NOT NULL) WITHOUT ROWID;

-- The keys by which misspelt words are found.
CREATE TABLE IF NOT EXISTS typos (key TEXT, word TEXT, PRIMARY KEY (key, word)) WITHOUT ROWID;

-- How many products each category has on sale.
CREATE TABLE IF NOT EXISTS categories (category TEXT PRIMARY KEY, products INTEGER NOT NULL) WITHOUT ROWID;
