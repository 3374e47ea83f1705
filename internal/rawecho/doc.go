// Package rawecho is an upstream that records what reaches it as it came: the
// request line, header names in their own spelling and order, the body, the
// trailers. It parses no more than it needs to find the end of a request, so
// that what a test looks at is what an application behind the proxy would have
// got, and no library's idea of it. It speaks HTTP/1.1 and HTTP/2 in the clear.
package rawecho
