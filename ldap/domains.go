package ldap

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

// maxSuffixes bounds the names of a domain that are taken from a server.
const maxSuffixes = 1000

// domainNames are the names by which people call one directory's domain. Until
// an AD server was asked, its NetBIOS name is taken to be the front of the
// label, as it mostly is.
type domainNames struct {
	always []string // folded

	mu       sync.RWMutex
	netBIOS  string   // folded
	suffixes []string // folded: alternative suffixes of the forest
	learned  bool
	failed   time.Time // when they could not be read
}

func newDomainNames(label string, more []string) *domainNames {
	front, _, _ := strings.Cut(label, ".")
	n := &domainNames{always: []string{foldCase(label)}, netBIOS: foldCase(front)}
	for _, name := range more {
		n.always = append(n.always, foldCase(name))
	}
	return n
}

// own tells whether a suffix or prefix names this domain and no other.
func (n *domainNames) own(name string) bool {
	name = foldCase(name)
	if slices.Contains(n.always, name) {
		return true
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	return name == n.netBIOS
}

// certainlyOwn is own without what the label only looks like.
func (n *domainNames) certainlyOwn(name string) bool {
	return slices.Contains(n.always, foldCase(name)) || n.known() && n.own(name)
}

// knows tells whether people of this directory may carry the suffix. Those of
// other domains of the forest may carry it too.
func (n *domainNames) knows(suffix string) bool {
	if n.own(suffix) {
		return true
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	return slices.Contains(n.suffixes, foldCase(suffix))
}

// known tells whether the domain was asked for its names.
func (n *domainNames) known() bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.learned
}

func (n *domainNames) failedSince(then time.Time) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.failed.After(then)
}

// askNames has the names learned as the service account, where there are any.
func (d *Directory) askNames(parent context.Context) error {
	ctx, cancel := d.bounded(parent)
	defer cancel()
	// Every look-up learns them.
	if _, err := d.lookup(ctx, nil, func(*connection, string) error { return nil }); err != nil {
		return verdictOn(parent, ctx, &attempt{}, err)
	}
	return nil
}

// learnNames reads the domain's NetBIOS name and the forest's suffixes, once,
// as whoever c is bound as: every account may read them (MS-ADTS 6.1.1.2.1).
// It fails no sign-in.
func (d *Directory) learnNames(c *connection) {
	if d.names.known() || d.names.failedSince(time.Now().Add(-d.limits.refresh)) || c.root.configuration == "" || c.root.base == "" {
		return
	}
	filter := "(|(objectClass=crossRefContainer)(&(objectClass=crossRef)(nCName=" + goldap.EscapeFilter(c.root.base) + ")))"
	operation := c.operation
	defer func() { c.operation = operation }()
	c.operation = min(operation, d.limits.resolve) // somebody signs in meanwhile
	entries, err := c.search("CN=Partitions,"+c.root.configuration, goldap.ScopeWholeSubtree, 2, filter, "nETBIOSName", "uPNSuffixes")
	d.names.mu.Lock()
	defer d.names.mu.Unlock()
	if err != nil || len(entries) == 0 { // the domain has an entry of its own there
		d.names.failed = time.Now() // or everybody would wait for it
		return
	}
	if d.names.learned {
		return // somebody else was faster
	}
	d.names.learned = true
	for _, e := range entries {
		if name := value(e, "nETBIOSName"); name != "" {
			d.names.netBIOS = foldCase(name)
		}
		for _, suffix := range e.GetEqualFoldAttributeValues("uPNSuffixes") {
			if len(d.names.suffixes) < maxSuffixes && cleanLine(suffix) {
				d.names.suffixes = append(d.names.suffixes, foldCase(suffix))
			}
		}
	}
}

// learnKind tells which kind of server c leads to, and remembers it: a
// directory does not change its kind.
func (d *Directory) learnKind(c *connection) Kind {
	if d.config.Kind != KindAuto {
		return d.config.Kind
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !c.root.unseen() || d.detected == KindAuto {
		d.detected = c.root.kind
	}
	return c.root.kind
}

func (d *Directory) knownKind() Kind {
	if d.config.Kind != KindAuto {
		return d.config.Kind
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.detected
}
