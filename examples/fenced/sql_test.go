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

package fenced_test

import (
	"database/sql"
	"errors"
	"path/filepath"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // The driver "pgx".
	_ "modernc.org/sqlite"             // The driver "sqlite".

	"github.com/kubelock/kubelock/examples/fenced"
)

func TestPostgres(t *testing.T) {
	t.Parallel()
	testRow(t, "pgx", postgres(t), fenced.Postgres)
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	testRow(t, "sqlite", "file:"+filepath.Join(t.TempDir(), "report.db")+"?_pragma=busy_timeout(10000)", fenced.SQLite)
}

func testRow(t *testing.T, driver, source string, dialect fenced.Dialect) {
	t.Helper()
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	row := func(id string) fenced.Row {
		r := fenced.Row{DB: db, Dialect: dialect, ID: id}
		for range 2 { // It may be there.
			if err := r.Init(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return r
	}
	pausedHolder(t, row("report"))
	greatTokens(t, row("great"))
	missing := fenced.Row{DB: db, Dialect: dialect, ID: "missing"}
	if err := missing.Write(t.Context(), 1, "text"); !errors.Is(err, fenced.ErrStale) {
		t.Errorf("a write to a row that is missing: %v", err)
	}
}
