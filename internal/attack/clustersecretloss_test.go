package attack

import (
	"slices"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// A Redis that was emptied has lost the secret by which counts are named, too. The
// nodes that run have it; one that starts then must not count by another one.
func TestP75CountsStayOneWhenRedisHasForgotten(t *testing.T) {
	t.Parallel()
	dir := directoryWithService(ldaptest.Demo())
	c := throttleBehindProxy
	c.directory, c.block = dir, directoryServiceLines
	cl := newCluster(t, c)
	nodes := cl.two(t)
	device := throttleDeviceOf(t, nodes[0].trySignIn(t, maria, ldaptest.DemoPassword))
	cl.do(t, "FLUSHALL")
	nodes = append(nodes, cl.node(t, cl.redis.Addr))
	asked := directoryWatch(cl.directory)
	tried := guessAll(t, nodes, throttleGuesses(slices.Repeat([]string{juan}, 8)...))
	if n := len(asked.people()); n > 3 || tried > 3 {
		t.Errorf("%d guesses were tried and %d reached the directory, want 3", tried, n)
	}
	// And the browsers that were known are, on every node, once the name is.
	nodes[2].sessionOf(t, nodes[2].trySignIn(t, maria, ldaptest.DemoPassword))
	guessAll(t, nodes, throttleGuesses(slices.Repeat([]string{maria}, 8)...))
	for _, n := range nodes {
		n.sessionOf(t, n.trySignIn(t, maria, ldaptest.DemoPassword, "Cookie", device))
	}
}
