// Package netfault makes the network between a client and a server fail on
// command, for tests: a listener that never answers, and a TCP proxy that can
// stall, delay, drop or cut what passes through it.
package netfault
