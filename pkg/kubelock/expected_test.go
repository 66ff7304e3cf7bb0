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

package kubelock_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// Tests of what callers that were expected must not take from others, or believe.

// TestLoopsLeaveRoom has so many clients go around that the queue is full: another one still
// gets its turn.
func TestLoopsLeaveRoom(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	synctest.Test(t, func(t *testing.T) {
		const clients, work = protocol.MaxWaiters + 1, 100 * time.Millisecond
		server := kubelocktest.NewServer(t)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range clients {
			l := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "full")
			all.Go(func() {
				for ctx.Err() == nil {
					held, err := l.Acquire(ctx)
					if err != nil {
						return
					}
					<-time.After(work)
					if err := held.Release(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		<-time.After(5 * clients * work) // Until each is expected to come back.
		l := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "full")
		wait, stop := context.WithTimeout(t.Context(), 5*clients*work)
		defer stop()
		held, err := l.Acquire(wait)
		if err != nil {
			t.Error(err)
		} else if err := held.Release(t.Context()); err != nil {
			t.Error(err)
		}
		cancel()
		all.Wait()
	})
}

// whileExpected lets two clients go around the lock "loop" until a caller of the first is
// expected, and queues, while the second has the lock. leave lets the second release it, and
// returns when it has.
func whileExpected(t *testing.T, server *kubelocktest.Server) (first *kubelock.Lock[int], leave func() error) {
	t.Helper()
	first = kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "loop")
	second := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "loop")
	var over atomic.Bool
	may, left := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			held, err := second.Acquire(t.Context())
			if err != nil {
				left <- err
				return
			}
			<-time.After(time.Millisecond)
			last := over.Load()
			if last {
				<-may
			}
			if err := held.Release(t.Context()); err != nil || last {
				left <- err
				return
			}
		}
	}()
	turnsOf(t, 20, first)
	over.Store(true)
	<-time.After(5 * time.Millisecond)
	return first, func() error {
		close(may)
		return <-left
	}
}

// TestTryDoesNotOvertake has a lock be given to who was expected, or be free, while another
// one queues behind: a caller that only tries does not take it.
func TestTryDoesNotOvertake(t *testing.T) {
	t.Parallel()
	for _, freed := range []bool{false, true} {
		t.Run(fmt.Sprintf("freed by hand %v", freed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := kubelocktest.NewServer(t)
				first, leave := whileExpected(t, server)
				behind := make(chan error, 1)
				go func() {
					behind <- cycle(t.Context(), kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "loop"))
				}()
				<-time.After(10 * time.Millisecond) // It queues.
				if freed {
					free(t, server)
				} else if err := leave(); err != nil {
					t.Error(err)
				}
				if _, err := first.TryAcquire(t.Context()); !errors.Is(err, kubelock.ErrNotAcquired) {
					t.Errorf("who only tried was told %v, want ErrNotAcquired", err)
				}
				if err := <-behind; err != nil {
					t.Error(err)
				}
				if freed {
					if err := leave(); !errors.Is(err, kubelock.ErrLost) {
						t.Errorf("whose lock was freed by hand was told %v, want ErrLost", err)
					}
				}
			})
		})
	}
}

// TestTryLooksAgain has the lock be freed by hand while a caller is expected, and nobody else
// queues: one that only tries gets it, whatever its client knew of the lock before.
func TestTryLooksAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		first, leave := whileExpected(t, server)
		free(t, server)
		held, err := first.TryAcquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := leave(); !errors.Is(err, kubelock.ErrLost) {
			t.Errorf("whose lock was freed by hand was told %v, want ErrLost", err)
		}
		if err := held.Release(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestDeleteBeforeExpected has somebody delete the lock while a caller is expected behind: the
// state goes, and the object stays.
func TestDeleteBeforeExpected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		deleter := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "loop")
		first := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "loop")
		turnsOf(t, 3, first)
		held, err := first.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		deleted := make(chan error, 1)
		go func() { deleted <- deleter.Delete(t.Context()) }()
		<-time.After(time.Second) // It queues.
		if err := errors.Join(held.Release(t.Context()), <-deleted); err != nil {
			t.Fatal(err)
		}
		if _, err := objects(server).Get(t.Context(), "loop", metav1.GetOptions{}); err != nil {
			t.Errorf("the object is gone though somebody was behind: %v", err)
		}
		if s, err := deleter.Get(t.Context()); err != nil || s.Exists {
			t.Errorf("after the deletion: %+v, %v; want no state", s, err)
		}
	})
}

// free takes the holder out of the lock by hand.
func free(t *testing.T, server *kubelocktest.Server) {
	t.Helper()
	patch := []byte(`{"metadata":{"labels":{"` + v1alpha1.HolderLabel + `":null}},"spec":{"holder":null}}`)
	if _, err := objects(server).Patch(t.Context(), "loop", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// objects are the locks of a server.
func objects(server *kubelocktest.Server) dynamic.ResourceInterface {
	return dynamic.NewForConfigOrDie(server.Config()).Resource(v1alpha1.GroupVersion.WithResource("distributedlocks")).Namespace(kubelocktest.Namespace)
}

// TestDeleteAfterLoop has others delete the lock and make it again while a caller is expected
// that was told how it stood before: its deletion deletes what there is now.
func TestDeleteAfterLoop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		lock := func() *kubelock.Lock[int] {
			return kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "loop")
		}
		first, second, third := lock(), lock(), lock()
		ctx, leave := context.WithCancel(t.Context())
		var other sync.WaitGroup
		other.Go(func() {
			for cycle(ctx, second) == nil { //nolint:revive // It leaves the queue in the end.
			}
		})
		turnsOf(t, 20, first)
		held, err := first.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(10 * time.Millisecond) // The second client queues.
		var met atomic.Bool
		server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			if req.Method == http.MethodPatch && met.CompareAndSwap(false, true) { // The release, to who leaves right now.
				leave()
				<-time.After(10 * time.Millisecond)
			}
			return next.RoundTrip(req)
		})
		if err := held.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		other.Wait()
		if err := errors.Join(third.Delete(t.Context()), cycle(t.Context(), third), first.Delete(t.Context())); err != nil {
			t.Fatal(err)
		}
		if s, err := third.Get(t.Context()); err != nil || s.Value != 0 {
			t.Errorf("after the deletion: %+v, %v; want no state", s, err)
		}
	})
}

// TestDeleteAgain has a deletion stop waiting before its queue entry is written, which comes
// behind that of the next deletion: nobody waits for it any more, so nothing is left.
func TestDeleteAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		held, err := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "k").Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		deleter := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "k")
		const late = 2 * time.Second
		again := make(chan error, 1)
		ended, released := make(chan struct{}), make(chan struct{})
		var met atomic.Bool
		server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			if req.Method != http.MethodPatch || !met.CompareAndSwap(false, true) {
				return next.RoundTrip(req)
			}
			<-time.After(late)
			resp, err := next.RoundTrip(req)
			if err := held.Release(t.Context()); err != nil { // Before the first deletion has left the queue.
				t.Error(err)
			}
			close(released)
			select { // No answer comes.
			case <-ended:
			case <-req.Context().Done():
				_ = resp.Body.Close()
				return nil, req.Context().Err()
			}
			return resp, err
		})
		ctx, stop := context.WithTimeout(t.Context(), late/4)
		defer stop()
		if err := deleter.Delete(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("deleting a held lock: %v, want DeadlineExceeded", err)
		}
		go func() { defer close(ended); again <- deleter.Delete(t.Context()) }()
		if err := <-again; err != nil {
			t.Error(err)
		}
		<-released
		if got, err := objects(server).Get(t.Context(), "k", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("after Delete there is still %v, %v", got, err)
		}
	})
}

// TestLongQueueExpectsSooner has a client come back to a lock right after its release. Where
// many others wait, it queues with its next release already; where few do, only after it
// has come back once more.
func TestLongQueueExpectsSooner(t *testing.T) {
	t.Parallel()
	for others, want := range map[int]int64{2: 1, 20: 0} {
		t.Run(strconv.Itoa(others), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := kubelocktest.NewServer(t)
				lock := func() *kubelock.Lock[int] {
					return kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "long")
				}
				var all sync.WaitGroup
				queue := func() {
					for range others {
						l := lock()
						all.Go(func() {
							if err := cycle(t.Context(), l); err != nil {
								t.Error(err)
							}
						})
						<-time.After(5 * time.Millisecond)
					}
				}
				l := lock()
				var joined atomic.Int64
				for range 2 {
					held, err := l.Acquire(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					queue()
					joined.Store(0)
					server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
						if joins, _ := joins(t, req); joins {
							joined.Add(1)
						}
						return next.RoundTrip(req)
					})
					if err := held.Release(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if err := cycle(t.Context(), l); err != nil {
					t.Fatal(err)
				}
				if n := joined.Load(); n != want {
					t.Errorf("with %d others it took %d writes to queue for the third time, want %d", others, n, want)
				}
				all.Wait()
			})
		})
	}
}
