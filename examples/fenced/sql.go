/*
Copyright 2026 The kubelock Authors.

Licensed under the Apache License, Version 2.0 (the "License");
you may not use this file except in compliance with the License.
You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software
distributed under the License is distributed on an "AS IS" BASIS,
WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
See the License for the specific language governing permissions and
limitations under the License.
*/

package fenced

import (
	"context"
	"database/sql"
	"errors"
)

// Dialect is the statements of one database: the check, the new fence and the effect are one statement.
type Dialect struct{ Create, Insert, Read, Write string }

// Postgres is tested on a real server. At any isolation level a statement that waited for another's write
// checks the fence again, or fails.
var Postgres = Dialect{
	Create: `CREATE TABLE IF NOT EXISTS report (id text PRIMARY KEY, body text NOT NULL, fence bigint NOT NULL)`,
	Insert: `INSERT INTO report (id, body, fence) VALUES ($1, '', 0) ON CONFLICT DO NOTHING`,
	Read:   `UPDATE report SET fence = $1 WHERE id = $2 AND fence <= $1 RETURNING body`,
	Write:  `UPDATE report SET fence = $1, body = $3 WHERE id = $2 AND fence <= $1`,
}

// SQLite is the same with its own parameters.
var SQLite = Dialect{
	Create: Postgres.Create,
	Insert: `INSERT INTO report (id, body, fence) VALUES (?1, '', 0) ON CONFLICT DO NOTHING`,
	Read:   `UPDATE report SET fence = ?1 WHERE id = ?2 AND fence <= ?1 RETURNING body`,
	Write:  `UPDATE report SET fence = ?1, body = ?3 WHERE id = ?2 AND fence <= ?1`,
}

// Row is a row of a table, with its fence in a column.
type Row struct {
	DB      *sql.DB
	Dialect Dialect
	ID      string
}

// Init makes the table and the row, if there are none.
func (r Row) Init(ctx context.Context) error {
	if _, err := r.DB.ExecContext(ctx, r.Dialect.Create); err != nil {
		return err
	}
	_, err := r.DB.ExecContext(ctx, r.Dialect.Insert, r.ID)
	return err
}

// Read implements Store.
func (r Row) Read(ctx context.Context, token int64) (string, error) {
	var body string
	err := r.DB.QueryRowContext(ctx, r.Dialect.Read, token, r.ID).Scan(&body)
	if errors.Is(err, sql.ErrNoRows) {
		return "", stale(token)
	}
	return body, err
}

// Write implements Store. It does not make a row that is missing: without its fence, nothing is refused.
func (r Row) Write(ctx context.Context, token int64, text string) error {
	result, err := r.DB.ExecContext(ctx, r.Dialect.Write, token, r.ID, text)
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		return stale(token)
	}
	return err
}
