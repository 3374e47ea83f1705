// Package bench measures the whole server: what the gate costs a request, as a
// ratio of CPU times, side by side in one run. It holds benchmarks only; `make
// bench` runs them.
package bench
