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
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"net/http/httptest"

	"github.com/kubelock/kubelock/examples/fenced"
)

// A row of a table refuses a holder that is late. The tokens are those of two holds, Held.Token().
func ExampleRow() {
	db, err := sql.Open("sqlite", "file:report?mode=memory&cache=shared")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = db.Close() }() // It was in memory.
	ctx := context.Background()
	report := fenced.Row{DB: db, Dialect: fenced.SQLite, ID: "report"}
	if err := report.Init(ctx); err != nil {
		log.Fatal(err) //nolint:gocritic // What is deferred does not matter to a program that ends.
	}
	late(ctx, report)
	// Output:
	// 2201 writes: <nil>
	// 1904 writes: fenced: a newer holder has been here: the token 1904 is refused
	// it must stop: true
}

// An object in a store that knows conditional writes.
func ExampleResource() {
	server := httptest.NewServer(&object{hashed: true})
	defer server.Close()
	late(context.Background(), fenced.Resource{Client: server.Client(), URL: server.URL + "/report"})
	// Output:
	// 2201 writes: <nil>
	// 1904 writes: fenced: a newer holder has been here: the token 1904 is refused
	// it must stop: true
}

// late is a holder that writes after a newer one has.
func late(ctx context.Context, store fenced.Store) {
	fmt.Println("2201 writes:", store.Write(ctx, 2201, "by the newer holder"))
	err := store.Write(ctx, 1904, "by the older holder")
	fmt.Println("1904 writes:", err)
	fmt.Println("it must stop:", errors.Is(err, fenced.ErrStale))
}
