package caddyauth

import (
	"errors"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyauth/caddy-ldap/ldap"
)

// collectors count what happens, for all configurations of the process: Caddy
// gives each a registry of its own, and counters that were built anew would
// begin at zero with every reload.
//
// Labels come from closed sets, never from a request: a client must not be able
// to make series.
type collectors struct {
	signIns       *prometheus.CounterVec // by result
	sessionsEnded *prometheus.CounterVec // by reason
	refusals      *prometheus.CounterVec // by code
	storeErrors   prometheus.Counter
	inMemory      prometheus.GaugeFunc

	endReasons map[string]bool
}

var metrics = newCollectors()

// Reasons of an end beside those of the audit log.
const (
	reasonSignOut = "sign_out"
	reasonOther   = "other" // one that is not in the closed set
)

func newCollectors() *collectors {
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "caddy", Subsystem: "ldap_auth", Name: name, Help: help}
	}
	m := &collectors{
		signIns: prometheus.NewCounterVec(counter("sign_ins_total",
			"Sign-ins that were tried, by their result: ok, refused, unavailable."), []string{"result"}),
		sessionsEnded: prometheus.NewCounterVec(counter("sessions_ended_total",
			"Sessions that ended, by the reason of the audit log, or sign_out."), []string{"reason"}),
		refusals: prometheus.NewCounterVec(counter("refusals_total",
			"Requests that were refused, by the code of the answer. Those that were led to the sign-in page count as authentication_required."), []string{"code"}),
		storeErrors: prometheus.NewCounter(counter("store_errors_total",
			"Times that the session store failed somebody who needed it.")),
		inMemory: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "caddy", Subsystem: "ldap_auth", Name: "sessions_in_memory",
			Help: "Sessions that are served without asking the store.",
		}, sessionsInMemory),
		endReasons: make(map[string]bool),
	}
	// Series that are there from the start: of one that appears with its first
	// event no rate can be told.
	for _, result := range []string{resultOK, resultRefused, resultUnavailable} {
		m.signIns.WithLabelValues(result)
	}
	for _, reason := range []string{
		reasonSignOut, reasonEndedByUser, reasonEndedByOperator, "replaced", "per_user", reasonEndedLate, "expired", "invalid_record",
		string(ldap.ReasonUserUnknown), string(ldap.ReasonAccountDisabled), string(ldap.ReasonAccountExpired),
		string(ldap.ReasonPasswordChanged), string(ldap.ReasonTooManyGroups),
	} {
		m.endReasons[reason] = true
		m.sessionsEnded.WithLabelValues(reason)
	}
	return m
}

// sessionsInMemory asks the stores that are open, of whichever configuration.
func sessionsInMemory() float64 {
	n := 0
	stores.Range(func(_, value any) bool {
		if sessions := value.(*storeHandle).sessions.Load(); sessions != nil {
			n += sessions.InMemory()
		}
		return true
	})
	return float64(n)
}

// register shows the collectors in a configuration's registry, once however
// often it is called.
func (m *collectors) register(registry *prometheus.Registry) error {
	for _, collector := range []prometheus.Collector{m.signIns, m.sessionsEnded, m.refusals, m.storeErrors, m.inMemory} {
		err := registry.Register(collector)
		if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok && already.ExistingCollector == collector {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Provision shows the metrics that other configurations count. Caddy makes the
// admin endpoint of a new configuration before its apps, and when one of these
// fails keeps it, with its registry: without this /metrics would have nothing
// of the configuration that serves on. Where the plugin is not in use it does
// nothing.
func (adminAPI) Provision(ctx caddy.Context) error {
	inUse := false
	stores.Range(func(any, any) bool {
		inUse = true
		return false
	})
	if !inUse {
		return nil
	}
	return metrics.register(ctx.GetMetricsRegistry())
}

func (m *collectors) signedIn(result string) { m.signIns.WithLabelValues(result).Inc() }

func (m *collectors) sessionEnded(reason string) {
	if !m.endReasons[reason] {
		reason = reasonOther
	}
	m.sessionsEnded.WithLabelValues(reason).Inc()
}

func (m *collectors) refused(c code) { m.refusals.WithLabelValues(string(c)).Inc() }

func (m *collectors) storeFailed() { m.storeErrors.Inc() }

// Interface guard
var _ caddy.Provisioner = adminAPI{}
