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

package kubelock

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kubelock/kubelock/internal/engine"
	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

// Backend is the kind of object that a client keeps its locks in.
type Backend string

const (
	// DistributedLocks keeps locks in objects of kubelock's own kind. It is the
	// default.
	DistributedLocks Backend = "DistributedLocks"
	// Leases keeps locks in coordination.k8s.io Leases, for clusters where no
	// CustomResourceDefinition can be installed. A leader election by the same Lease, as
	// client-go's, excludes kubelock's holders and is excluded by them. At most 200 KiB of state.
	Leases Backend = "Leases"
	// ConfigMaps keeps locks in ConfigMaps, where Leases do not take the state: at most
	// 900 KiB. A ConfigMap that others made is refused unless it has the label
	// kubelock.dev/lock=true; the state is in its data under "value", and its other data
	// is left alone.
	ConfigMaps Backend = "ConfigMaps"
)

const (
	defaultLockDuration = 30 * time.Second
	defaultMaxClockSkew = time.Second

	// minDuration is the shortest lease: a shorter one would be over before the
	// request that begins it is answered.
	minDuration = 10 * time.Millisecond
)

// Config is how a Client locks. The zero Config is ready for use in a pod.
type Config struct {
	// Namespace is where the locks are. It is required, unless the program runs in a
	// pod: then the default is the pod's own.
	Namespace string
	// LockDuration is how long a hold lasts if it is neither released nor renewed: from
	// 10 ms to 365 days; 0 means 30 seconds. Each hold can have its own: see WithDuration.
	LockDuration time.Duration
	// ObjectExpiry is how long a lock and its state are kept after its last release.
	// The reaper deletes them then. It is at most 36,500 days. A client with an ObjectExpiry writes it into each
	// lock that it acquires; one without (0) leaves it as it is, and locks that it
	// creates are kept without end.
	ObjectExpiry time.Duration
	// Backend is the kind of object to keep locks in; DistributedLocks if empty.
	Backend Backend
	// Identity is shown to people as the lock's holder. The default is $POD_NAME, or
	// the host's name. It need not be unique; at most 253 bytes of UTF-8.
	Identity string
	// Logger gets what no call can return: background renewals that fail, holds that
	// are lost, and, once for each text, warnings of the API server, unless the
	// rest.Config has a handler for those. The zero Logger discards it.
	Logger logr.Logger
	// Metrics is where the client registers its metrics; nil for none. Several
	// clients may share one.
	Metrics prometheus.Registerer
	// TracerProvider makes OpenTelemetry spans of acquisitions, holds, releases and calls of Apply; nil for
	// none. A program that uses OpenTelemetry's global provider passes otel.GetTracerProvider().
	// The provider's processors run in the goroutines of callers.
	TracerProvider trace.TracerProvider
	// MaxClockSkew is how far the clocks of two API servers of the cluster may be
	// apart; 0 means one second. A client that finds a lock held judges by the server's
	// time whether the lease is over, and allows for this much. Below 0 it judges
	// only by watching a hold for its whole duration.
	// Clocks of nodes do not matter.
	MaxClockSkew time.Duration
	// Labels and Annotations are set on each object that the client creates for a lock, beside
	// kubelock's own. An object that exists keeps those that it has: they are neither added to it
	// later nor taken away. Keys below kubelock.dev/ are refused, and so is more than 8 KiB in all.
	Labels, Annotations map[string]string
}

// settings checks the configuration and fills in the defaults. Its error lists
// everything that is wrong.
func (cfg Config) settings() (engine.Settings, time.Duration, error) { //nolint:gocyclo // One check after the other.
	s := engine.Settings{
		Namespace:    cfg.Namespace,
		ObjectExpiry: cfg.ObjectExpiry,
		Identity:     cfg.Identity,
		Log:          cfg.Logger,
		MaxClockSkew: cfg.MaxClockSkew,
		Metrics:      cfg.Metrics,
		Tracing:      cfg.TracerProvider,
	}
	duration := cfg.LockDuration
	var wrong []error

	podNamespace := ownNamespace()
	if s.Namespace == "" {
		s.Namespace = podNamespace
	}
	if s.Namespace == "" {
		wrong = append(wrong, errors.New("Namespace must be set, because this program does not run in a pod"))
	} else if bad := validation.IsDNS1123Label(s.Namespace); len(bad) > 0 {
		wrong = append(wrong, fmt.Errorf("Namespace %q is not valid: %s", s.Namespace, strings.Join(bad, "; ")))
	}

	if duration == 0 {
		duration = defaultLockDuration
	}
	if err := checkDuration(duration); err != nil {
		wrong = append(wrong, fmt.Errorf("LockDuration %w", err))
	}
	if s.ObjectExpiry < 0 || s.ObjectExpiry > protocol.MaxObjectExpiry {
		wrong = append(wrong, fmt.Errorf("ObjectExpiry must not be negative and at most %v, is %v; 0 keeps objects without end", protocol.MaxObjectExpiry, s.ObjectExpiry))
	}
	if s.MaxClockSkew == 0 {
		s.MaxClockSkew = defaultMaxClockSkew
	}
	if s.MaxClockSkew > protocol.MaxDuration {
		wrong = append(wrong, fmt.Errorf("MaxClockSkew must be at most %v, is %v; below 0 nothing is judged by the server's time", protocol.MaxDuration, s.MaxClockSkew))
	}

	switch cfg.Backend {
	case "", DistributedLocks:
		s.Kind = store.DistributedLocks
	case Leases:
		s.Kind = store.Leases
	case ConfigMaps:
		s.Kind = store.ConfigMaps
	default:
		wrong = append(wrong, fmt.Errorf("Backend %q is unknown, use %s, %s or %s", cfg.Backend, DistributedLocks, Leases, ConfigMaps))
	}

	podName, podUID := os.Getenv("POD_NAME"), os.Getenv("POD_UID")
	if s.Identity == "" {
		s.Identity = podName
	}
	if s.Identity == "" {
		host, err := os.Hostname()
		if err != nil {
			wrong = append(wrong, fmt.Errorf("Identity must be set, because the host's name cannot be read: %w", err))
		}
		s.Identity = host
	}
	if len(s.Identity) > engine.MaxKeyBytes {
		wrong = append(wrong, fmt.Errorf("Identity must have at most %d bytes, has %d", engine.MaxKeyBytes, len(s.Identity)))
	}
	if !utf8.ValidString(s.Identity) {
		wrong = append(wrong, fmt.Errorf("Identity must be valid UTF-8, is %q", s.Identity))
	}
	if podName != "" && podUID != "" && podNamespace == s.Namespace {
		s.Pod = protocol.Pod{Name: podName, UID: podUID}
	}

	wrong = append(wrong, checkMetadata(cfg.Labels, cfg.Annotations)...)
	s.Labels, s.Annotations = maps.Clone(cfg.Labels), maps.Clone(cfg.Annotations)

	if len(wrong) > 0 {
		return engine.Settings{}, 0, fmt.Errorf("kubelock: wrong configuration:\n%w", errors.Join(wrong...))
	}
	return s, duration, nil
}

func checkDuration(d time.Duration) error {
	if d < minDuration || d > protocol.MaxDuration {
		return fmt.Errorf("must be at least %v and at most %v, is %v", minDuration, protocol.MaxDuration, d)
	}
	return nil
}

// ownNamespace is the namespace of the pod that the program runs in, or "".
func ownNamespace() string {
	if ns := os.Getenv("POD_NAMESPACE"); ns != "" {
		return ns
	}
	ns, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil {
		return "" // Not in a pod, or in one without a token.
	}
	return strings.TrimSpace(string(ns))
}
