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

package subjects

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// EtcdMutex is the name of etcd's own lock.
const EtcdMutex = "etcd Mutex"

// etcdMutex uses concurrency.Mutex on the API server's etcd. The holder reads and writes the state in
// a key of its own.
func etcdMutex() Subject {
	return Subject{Name: EtcdMutex, Open: func(_ context.Context, servers Servers, meter *Meter, o Options) (Client, error) {
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{servers.Etcd}, DialTimeout: 10 * time.Second, Logger: zap.NewNop(), DialOptions: []grpc.DialOption{
			grpc.WithChainUnaryInterceptor(meter.unary), grpc.WithChainStreamInterceptor(meter.stream),
		}})
		if err != nil {
			return nil, err
		}
		return &etcdClient{Client: c, options: o, used: map[string]bool{}}, nil
	}}
}

// unary counts a request to etcd.
func (m *Meter) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if strings.HasSuffix(method, "/Range") {
		m.reads.Add(1)
	} else {
		m.writes.Add(1)
	}
	return invoke(ctx, method, req, reply, cc, opts...)
}

// stream counts the messages of a stream to etcd.
func (m *Meter) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := open(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, err
	}
	return &etcdStream{s, m}, nil
}

type etcdStream struct {
	grpc.ClientStream

	meter *Meter
}

func (s *etcdStream) SendMsg(msg any) error {
	switch msg := msg.(type) {
	case *etcdserverpb.LeaseKeepAliveRequest:
		s.meter.writes.Add(1)
	case *etcdserverpb.WatchRequest:
		if msg.GetCreateRequest() != nil {
			s.meter.watches.Add(1)
		}
	}
	return s.ClientStream.SendMsg(msg)
}

func (s *etcdStream) RecvMsg(msg any) error {
	err := s.ClientStream.RecvMsg(msg)
	if r, ok := msg.(*etcdserverpb.WatchResponse); ok && err == nil {
		s.meter.events.Add(int64(len(r.GetEvents())))
		s.meter.watchBytes.Add(int64(proto.Size(r)))
	}
	return err
}

type etcdClient struct {
	*clientv3.Client

	options Options

	mu     sync.Mutex // protects the fields below
	shared *etcdSession
	used   map[string]bool // keys of the shared session
}

// etcdSession is a session that records when its lease was last renewed.
type etcdSession struct {
	*concurrency.Session

	ttl     time.Duration
	renewed atomic.Pointer[time.Time]
}

func (c *etcdClient) session(ctx context.Context) (*etcdSession, error) {
	asked := time.Now()
	ttl := int(c.options.lease() / time.Second)
	s, err := concurrency.NewSession(c.Client, concurrency.WithTTL(ttl))
	if err != nil {
		return nil, err
	}
	session := &etcdSession{Session: s, ttl: time.Duration(ttl) * time.Second}
	session.renewed.Store(&asked)
	// This channel also gets the answers to the session's own renewals.
	answers, err := c.KeepAlive(context.WithoutCancel(ctx), s.Lease())
	if err != nil {
		return nil, err
	}
	go func() { // Closing the client closes the channel.
		for range answers {
			session.renewed.Store(new(time.Now()))
		}
	}()
	return session, nil
}

// Lock uses a new session for a key that this client has locked before: two mutexes of one session on
// one key do not exclude each other.
func (c *etcdClient) Lock(ctx context.Context, key string) (Lock, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.shared
	if s == nil || c.used[key] {
		var err error
		if s, err = c.session(ctx); err != nil {
			return nil, err
		}
	}
	if c.shared == nil {
		c.shared = s
	}
	c.used[key] = true
	return &etcdLock{client: c, session: s, mutex: concurrency.NewMutex(s.Session, "/bench/lock/"+key), state: "/bench/state/" + key}, nil
}

type etcdLock struct {
	client  *etcdClient
	session *etcdSession
	mutex   *concurrency.Mutex
	state   string
	n       int
}

func (l *etcdLock) Acquire(ctx context.Context) (Hold, error) {
	if err := l.mutex.Lock(ctx); err != nil {
		return nil, err
	}
	if _, err := l.client.Get(ctx, l.state); err != nil {
		return nil, err
	}
	return (*etcdHold)(l), nil
}

type etcdHold etcdLock

func (h *etcdHold) Release(ctx context.Context) error {
	h.n++
	if _, err := h.client.Put(ctx, h.state, text(h.n, h.client.options.Size)); err != nil {
		return err
	}
	return h.mutex.Unlock(ctx)
}

func (h *etcdHold) End(context.Context) (time.Time, error) {
	return h.session.renewed.Load().Add(h.session.ttl), nil
}

func (h *etcdHold) Lost() bool { return h.session.Ctx().Err() != nil }
