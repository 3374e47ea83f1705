package sessionstore

import "time"

// watchOutEvery is how often the answers are looked at that outlive Close.
const watchOutEvery = 250 * time.Millisecond

// watchOut ends, by their limits, the answers that are still open when the sessions
// are closed, as after a reload that keeps them elsewhere: no request of theirs can
// come any more, and nobody else would end them. It ends with the last of them.
func (s *Sessions) watchOut() {
	for s.Watched() {
		time.Sleep(watchOutEvery)
		past := make(map[Key]Handle)
		s.lookAtAnswers(past)
		for key := range past {
			s.endAnswers(key, notThere)
		}
	}
}
