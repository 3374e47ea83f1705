// Package dnstest is a name server for tests: it answers for the names that it
// was given, over UDP and TCP on a free loopback port, and fails on command.
package dnstest
