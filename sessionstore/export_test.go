package sessionstore

// FakeStore is the store that this package's tests use, for the conformance
// suite: what passes on it only would prove nothing.
type FakeStore = fakeStore

// OpenFakeStore opens a new one, or another one with the records of closed.
func OpenFakeStore(closed *FakeStore) *FakeStore {
	if closed == nil {
		return newFakeStore()
	}
	return closed.reopened()
}
