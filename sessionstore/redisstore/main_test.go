package redisstore

import (
	"testing"

	"go.uber.org/goleak"
)

// A cluster client closes connections that a new topology has no use for five
// seconds later, and looks at a topology that has changed again after one second;
// both after its own end too.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient)._refresh.func2"),
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"))
}
