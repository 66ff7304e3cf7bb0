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

package monitoring

import (
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	prometheusrules "github.com/prometheus/prometheus/rules"
)

// fired evaluates an alert every minute until at, over samples of every minute from 0 on. It returns the
// summaries of the alerts that fire at the end.
func fired(t *testing.T, alert, scraped string, at time.Duration) []string {
	t.Helper()
	storage := promqltest.LoadedStorage(t, "load 1m\n"+scraped)
	query := prometheusrules.EngineQueryFunc(promqltest.NewTestEngine(t, false, 5*time.Minute, 10000), storage)
	var rule *prometheusrules.AlertingRule
	for _, r := range rules(t) {
		if r.Alert != alert {
			continue
		}
		expr, err := parser.NewParser(parser.Options{}).ParseExpr(r.Expr)
		if err != nil {
			t.Fatal(err)
		}
		rule = prometheusrules.NewAlertingRule(r.Alert, expr, time.Duration(r.For), time.Duration(r.KeepFiringFor),
			labels.FromMap(r.Labels), labels.FromMap(r.Annotations), labels.EmptyLabels(), "", true, slog.New(slog.DiscardHandler))
	}
	if rule == nil {
		t.Fatalf("there is no alert %s", alert)
	}
	for now := time.Duration(0); now <= at; now += time.Minute {
		if _, err := rule.Eval(t.Context(), 0, time.Unix(0, 0).Add(now), query, &url.URL{}, 0); err != nil {
			t.Fatal(err)
		}
	}
	var summaries []string
	for _, active := range rule.ActiveAlerts() {
		if active.State == prometheusrules.StateFiring {
			if active.Labels.Get("severity") == "" || active.Annotations.Get("description") == "" {
				t.Errorf("it has the labels %v and the annotations %v", active.Labels, active.Annotations)
			}
			summaries = append(summaries, active.Annotations.Get("summary"))
		}
	}
	return summaries
}

// alerts has cases in which each alert fires, with its summary, and cases in which it does not.
var alerts = []struct {
	alert, name, scraped string
	at                   time.Duration
	summary              string // empty if the alert does not fire
}{
	{"KubelockReaperAbsent", "one of two leads", reaperLeads("1x30", "0x30"), 30 * time.Minute, ""},
	{"KubelockReaperAbsent", "another lease's leader", "leader_election_master_status{name=\"other\"} 1x30", 6 * time.Minute, "No kubelock reaper works."},
	{"KubelockReaperAbsent", "nothing is scraped", "other 1x30", 6 * time.Minute, "No kubelock reaper works."},
	{"KubelockReaperAbsent", "no replica leads", reaperLeads("0x30", "0x30"), 6 * time.Minute, "No kubelock reaper works."},
	{"KubelockReaperAbsent", "no replica leads for a moment", reaperLeads("1x10 0x3 0x30", "0x10 0x3 1x30"), 14 * time.Minute, ""},

	{"KubelockExpiryLag", "usual", lag("0+10x60", "0+10x60", "0+10x60"), time.Hour, ""},
	{"KubelockExpiryLag", "late", lag("0+0x60", "0+0x60", "0+10x60"), time.Hour, "The kubelock reaper clears dead holders 29.8s after their leases."},
	{"KubelockExpiryLag", "late for a moment", lag("0+10x60", "0+10x60", "0+10x20 1000+10x40"), time.Hour, ""},
	{"KubelockExpiryLag", "late since just now", lag("0+10x60", "0+10x60", "0+10x20 210+20x40"), 29 * time.Minute, ""},
	{"KubelockExpiryLag", "no holder is dead", lag("5x60", "5x60", "5x60"), time.Hour, ""},

	{"KubelockHoldsOverdue", "none", "kubelock_reaper_holds_overdue{resource=\"leases\"} 0x30", 30 * time.Minute, ""},
	{"KubelockHoldsOverdue", "some", "kubelock_reaper_holds_overdue{resource=\"leases\"} 3x30", 6 * time.Minute, "3 locks in leases are held though their leases ended long ago."},
	{"KubelockHoldsOverdue", "until just now", "kubelock_reaper_holds_overdue{resource=\"leases\"} 3x20 0x9", 21 * time.Minute, ""},
	{"KubelockHoldsOverdue", "since just now", "kubelock_reaper_holds_overdue{resource=\"leases\"} 3x30", 4 * time.Minute, ""},

	{"KubelockReaperErrors", "now and then", "kubelock_reaper_errors_total{reason=\"Conflict\"} 0+3x60", time.Hour, ""},
	{"KubelockReaperErrors", "again and again", "kubelock_reaper_errors_total{reason=\"Forbidden\"} 0+60x60", time.Hour, "The kubelock reaper fails again and again: Forbidden."},
	{"KubelockReaperErrors", "many, but once", "kubelock_reaper_errors_total{reason=\"Timeout\"} 0x20 1000x40", 40 * time.Minute, ""},

	{"KubelockUnreadableLocks", "none", "kubelock_reaper_locks{resource=\"configmaps\",state=\"unreadable\"} 0x30\nkubelock_reaper_locks{resource=\"configmaps\",state=\"held\"} 5x30", 30 * time.Minute, ""},
	{"KubelockUnreadableLocks", "some", "kubelock_reaper_locks{resource=\"configmaps\",state=\"unreadable\"} 2x30", 16 * time.Minute, "2 configmaps are marked as kubelock locks and cannot be read."},

	{"KubelockHoldsLost", "none", "kubelock_lost_holds_total{namespace=\"shop\",job=\"web\"} 7x60", time.Hour, ""},
	{"KubelockHoldsLost", "few", "kubelock_lost_holds_total{namespace=\"shop\",job=\"web\"} 0x55 1x5", time.Hour, ""},
	{"KubelockLongWaits", "short", waits("0+60x60", "0+60x60"), time.Hour, ""},
	{"KubelockLongWaits", "one in a hundred", waits("0+59.4x60", "0+60x60"), time.Hour, ""},
	{"KubelockLongWaits", "one in five", waits("0+48x60", "0+60x60"), time.Hour, "One in ten calls of shop/web waits for a lock for half a minute or longer."},
	{"KubelockLongWaits", "one in five since just now", waits("0+48x60", "0+60x60"), 20 * time.Minute, ""},
	{"KubelockLongWaits", "no calls", waits("5x60", "6x60"), time.Hour, ""},
	{"KubelockHoldsLost", "many", "kubelock_lost_holds_total{namespace=\"shop\",job=\"web\"} 0+1x60", time.Hour, "shop/web has lost 15 holds in 15 minutes."},
}

func reaperLeads(first, second string) string {
	return "leader_election_master_status{name=\"reaper.kubelock.dev\",pod=\"a\"} " + first + "\n" +
		"leader_election_master_status{name=\"reaper.kubelock.dev\",pod=\"b\"} " + second
}

// lag returns samples of the reaper's histogram: the number of holds ended within 3 seconds, within 10 seconds,
// and in all.
func lag(within3, within10, all string) string {
	const bucket = "kubelock_reaper_expiry_lag_seconds_bucket"
	return bucket + "{le=\"3\"} " + within3 + "\n" + bucket + "{le=\"10\"} " + within10 + "\n" + bucket + "{le=\"30\"} " + all + "\n" + bucket + "{le=\"+Inf\"} " + all
}

// waits returns samples of the library's histogram: the number of calls that waited for at most 8 seconds, and
// of all calls.
func waits(within8, all string) string {
	const bucket = "kubelock_acquire_seconds_bucket"
	var text string
	for _, le := range []string{"8.192", "16.384", "32.768"} {
		text += bucket + "{namespace=\"shop\",job=\"web\",le=\"" + le + "\"} " + within8 + "\n"
	}
	return text + bucket + "{namespace=\"shop\",job=\"web\",le=\"+Inf\"} " + all
}

// TestRunbooks checks that each alert links to a section about it.
func TestRunbooks(t *testing.T) {
	const site, page = "https://github.com/kubelock/kubelock/blob/main/", "docs/operations/alerts.md"
	text, err := os.ReadFile(filepath.Join("..", "..", page))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules(t) {
		if want := site + page + "#" + strings.ToLower(r.Alert); r.Annotations["runbook_url"] != want {
			t.Errorf("%s leads to %q, want %q", r.Alert, r.Annotations["runbook_url"], want)
		}
		if !strings.Contains(string(text), "\n## "+r.Alert+"\n") {
			t.Errorf("%s has no section %s", page, r.Alert)
		}
	}
}

func TestAlerts(t *testing.T) {
	fires := map[string]bool{}
	for _, tc := range alerts {
		t.Run(tc.alert+" "+tc.name, func(t *testing.T) {
			got := fired(t, tc.alert, tc.scraped, tc.at)
			if tc.summary == "" && len(got) > 0 {
				t.Errorf("it fires: %q", got)
			}
			if tc.summary != "" && (len(got) != 1 || got[0] != tc.summary) {
				t.Errorf("it says %q, want %q", got, tc.summary)
			}
		})
		fires[tc.alert] = fires[tc.alert] || tc.summary != ""
	}
	for _, r := range rules(t) {
		if r.Alert == "" || !fires[r.Alert] {
			t.Errorf("no test has %s%s fire", r.Alert, r.Record)
		}
	}
}
