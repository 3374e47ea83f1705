package ldap

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"
)

// maxGroupRefs bounds the references that one directory takes up.
const maxGroupRefs = 1000

// refForm is how a reference names its group.
type refForm int

const (
	byName refForm = iota
	byDN
	bySID
)

// GroupState is what is known of a reference of the configuration.
type GroupState int

const (
	// GroupUnknown: the directory has not been asked, or did not answer.
	GroupUnknown GroupState = iota

	// GroupResolved: it stands for one group, as last read.
	GroupResolved

	// GroupAbsent: the directory has no such group, or several. Nobody is in it.
	GroupAbsent
)

// refState is what the directory last said of a reference.
type refState int

const (
	stateUnread  refState = iota
	stateFound            // exactly one group
	stateNone             // no group
	stateSeveral          // several groups, and so none
)

// dnStart is what a DN of several parts begins with, and hardly any name.
var dnStart = regexp.MustCompile(`^\s*[A-Za-z][A-Za-z0-9-]*\s*=.*,`)

// groupRef is one reference of the configuration.
type groupRef struct {
	ref   string
	form  refForm
	value string // the name or DN as written, or the SID in its one spelling
	state refState
	group Group
	read  time.Time
	users int // configurations that refer to it
}

// groupTable is what is known of the references. Reading it is cheap: the gate
// does so on every request.
type groupTable struct {
	label  string
	logger *slog.Logger
	flight chan struct{} // holds a token while somebody looks references up

	mu      sync.RWMutex
	refs    map[string]*groupRef
	failing bool
}

func newGroupTable(label string, refs []string, logger *slog.Logger) *groupTable {
	t := &groupTable{label: label, logger: logger, flight: make(chan struct{}, 1), refs: make(map[string]*groupRef, len(refs))}
	for _, ref := range refs {
		if r, err := parseGroupRef(ref); err == nil { // New has refused the others
			r.users = 1
			t.refs[ref] = r
		}
	}
	return t
}

// parseGroupRef reads a reference.
func parseGroupRef(ref string) (*groupRef, error) {
	switch {
	case strings.TrimSpace(ref) == "":
		return nil, errors.New("a group of the configuration is empty: write its SID, DN or name")
	case len(ref) > maxValueBytes || !cleanLine(ref):
		return nil, fmt.Errorf("group %q is longer than %d bytes, has control characters or is not UTF-8", printable(ref), maxValueBytes)
	}
	if sid, err := ParseSID(ref); err == nil {
		// It stands for itself before anybody is asked.
		return &groupRef{ref: ref, form: bySID, value: sid, group: Group{ID: sid}}, nil
	}
	if len(ref) > 4 && strings.EqualFold(ref[:4], "S-1-") {
		return nil, fmt.Errorf("group %q looks like a SID and is none", ref)
	}
	if isDN(ref) {
		return &groupRef{ref: ref, form: byDN, value: ref}, nil
	}
	if dnStart.MatchString(ref) {
		return nil, fmt.Errorf("group %q looks like a DN and is none", ref)
	}
	return &groupRef{ref: ref, form: byName, value: strings.TrimSpace(ref)}, nil
}

// use takes a reference up.
func (t *groupTable) use(ref string) error {
	r, err := parseGroupRef(ref)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.refs[ref]; known != nil {
		known.users++
		return nil
	}
	// Two configurations live at once during a reload.
	if len(t.refs) >= 2*maxGroupRefs {
		t.prune()
	}
	if len(t.refs) >= 2*maxGroupRefs {
		return fmt.Errorf("group %q is one too many: there are more than %d", ref, 2*maxGroupRefs)
	}
	r.users = 1
	t.refs[ref] = r
	return nil
}

// release takes a user off a reference. What is known of it stays, for requests
// and sign-ins that outlive the configuration they came in with; it is read no
// more, and makes room when others need it.
func (t *groupTable) release(ref string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.refs[ref]; r != nil && r.users > 0 {
		r.users--
	}
}

// prune drops references that nobody uses. The caller holds mu.
func (t *groupTable) prune() {
	for ref, r := range t.refs {
		if r.users == 0 {
			delete(t.refs, ref)
		}
	}
}

// get returns what ref stands for, and whether it is time to read it (again):
// when it is unresolved, or was read before oldest.
func (t *groupTable) get(ref string, oldest time.Time) (group Group, state GroupState, due bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	r := t.refs[ref]
	if r == nil {
		// Not of the configuration; a SID needs none to stand for itself.
		if sid, err := ParseSID(ref); err == nil {
			return Group{ID: sid}, GroupResolved, false
		}
		return Group{}, GroupUnknown, false
	}
	switch {
	case r.form == bySID, r.state == stateFound:
		state = GroupResolved
	case r.state != stateUnread:
		state = GroupAbsent
	}
	return r.group, state, r.due(oldest)
}

func (r *groupRef) due(oldest time.Time) bool {
	if r.form == bySID && r.state != stateUnread {
		// A SID without an entry, like the well-known ones, is an answer too.
		return r.read.Before(oldest)
	}
	return r.state != stateFound || r.read.Before(oldest)
}

// dueRefs are copies of the references that should be read. missing tells
// whether one of them was never read at all.
func (t *groupTable) dueRefs(oldest time.Time) (refs []groupRef, missing bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, r := range t.refs {
		if r.users > 0 && r.due(oldest) {
			refs = append(refs, *r)
			missing = missing || r.state == stateUnread && r.form != bySID
		}
	}
	return refs, missing
}

// settle records what the directory said of a reference. A change is logged
// once, at the time of the change.
func (t *groupTable) settle(ref string, after refState, group Group) {
	t.mu.Lock()
	r := t.refs[ref]
	if r == nil { // released while it was looked up
		t.mu.Unlock()
		return
	}
	before, form := r.state, r.form
	r.read, r.state, r.group = time.Now(), after, group
	if form == bySID {
		r.group.ID = r.value
	}
	t.mu.Unlock()

	switch {
	case after == before, form == bySID:
	case after == stateNone:
		t.logger.Warn("group of the configuration not found: nobody is in it", "directory", t.label, "group", ref)
	case after == stateSeveral:
		t.logger.Warn("group of the configuration is ambiguous: nobody is in it: name it by DN or SID", "directory", t.label, "group", ref)
	case before != stateUnread:
		t.logger.Info("group of the configuration found again", "directory", t.label, "group", ref)
	}
}

// failed and worked log the start and the end of a time in which references
// cannot be looked up. What is known stays in use.
func (t *groupTable) failed(err error) {
	t.mu.Lock()
	before := t.failing
	t.failing = true
	t.mu.Unlock()
	if !before {
		t.logger.Warn("groups of the configuration cannot be looked up: what is known of them stays in use", "directory", t.label, "error", err.Error())
	}
}

func (t *groupTable) worked() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failing = false
}

// name fills Name and DN of the groups that a resolved reference stands for.
func (t *groupTable) name(groups []Group) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	known := make(map[string]Group, len(t.refs))
	for _, r := range t.refs {
		if r.state == stateFound {
			known[r.group.ID] = r.group
		}
	}
	for i := range groups {
		if g, ok := known[groups[i].ID]; ok {
			groups[i] = g
		}
	}
}
