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

package kubelocktest_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"testing"
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// report is a program's own function: it counts its runs, one at a time.
func report(ctx context.Context, client *kubelock.Client) (int, error) {
	return kubelock.NewLock[int](client, "report").Do(ctx, func(_ context.Context, runs int) (int, error) { return runs + 1, nil })
}

// A test gives the program under test a real client of a server in memory, and makes faults. In a
// bubble of testing/synctest, in which time is virtual, this takes no time.
func Example() {
	t := new(testing.T) // That of the test.
	server := kubelocktest.NewServer(t)
	client, err := kubelock.NewClient(server.Config(), kubelock.Config{Namespace: kubelocktest.Namespace})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close() // In a test, server.NewClient does both.
	fmt.Println(report(context.Background(), client))

	reconnect := server.Disconnect()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	_, err = report(ctx, client)
	cancel()
	fmt.Println("without a connection:", errors.Is(err, context.DeadlineExceeded))

	reconnect()
	fmt.Println(report(context.Background(), client))
	// Output:
	// 1 <nil>
	// without a connection: true
	// 2 <nil>
}
