// Package integration tests the product against real directory servers. It has
// tests only. Everything that needs Samba is in this one package, because
// Samba's ports cannot be moved and packages are tested at the same time.
package integration
