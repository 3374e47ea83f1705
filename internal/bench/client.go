package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// browserHeaders are what a browser sends with a page, but for the cookies.
const browserHeaders = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:146.0) Gecko/20100101 Firefox/146.0\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
	"Accept-Language: es-ES,es;q=0.8,en-US;q=0.5,en;q=0.3\r\n" +
	"Connection: keep-alive\r\n" +
	"Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\n"

// client is one connection that sends one request after the other, with as
// little work of its own as it can: it shares the machine with the server.
type client struct {
	conn    net.Conn
	in      *bufio.Reader
	head    []byte
	cookies []string // one for each request, in rotation
	next    int
	step    int
	buffer  []byte
	renewed int // answers that set a cookie
}

// clients are the connections of each variant.
const clients = 8

// dial opens the connections to a site. Together they go through the cookies in
// rotation; nil: none are sent. header is added to each request.
func dial(port, header string, cookies []string) (all []*client, err error) {
	for i := range clients {
		c, err := connect(port, page, browserHeaders+header)
		if err != nil {
			hangUp(all)
			return nil, err
		}
		c.cookies, c.next, c.step = cookies, i, clients
		all = append(all, c)
	}
	return all, nil
}

// connect opens one connection, for requests of one path.
func connect(port, path, headers string) (*client, error) {
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		return nil, err
	}
	head := []byte("GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1:" + port + "\r\n" + headers)
	return &client{conn: conn, in: bufio.NewReader(conn), head: head}, nil
}

func hangUp(all []*client) {
	for _, c := range all {
		_ = c.conn.Close()
	}
}

// fetch sends requests and reads their answers. With a pace they are spread
// over time, else sent as fast as they are answered.
func (c *client) fetch(requests int, pace time.Duration) error {
	began := time.Now()
	for i := range requests {
		if pace > 0 {
			time.Sleep(time.Until(began.Add(time.Duration(i) * pace)))
		}
		cookies := ""
		if len(c.cookies) > 0 {
			cookies = c.cookies[c.next%len(c.cookies)]
			c.next += c.step
		}
		if err := c.served(cookies); err != nil {
			return err
		}
	}
	return nil
}

// served sends one request, which has to be answered 200.
func (c *client) served(cookies string) error {
	status, err := c.send(cookies)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("it answered %d", status)
	}
	if err != nil {
		return fmt.Errorf("fetching from %s: %w", c.conn.RemoteAddr(), err)
	}
	return nil
}

// send sends one request, with these cookies if there are any, and returns the
// status of its answer.
func (c *client) send(cookies string) (status int, err error) {
	c.buffer = append(c.buffer[:0], c.head...)
	if cookies != "" {
		c.buffer = append(append(append(c.buffer, "Cookie: "...), cookies...), "\r\n"...)
	}
	if _, err := c.conn.Write(append(c.buffer, "\r\n"...)); err != nil {
		return 0, err
	}
	return c.answer()
}

// answer reads one, which has a length.
func (c *client) answer() (status int, err error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	const first = "HTTP/1.1 "
	if !bytes.HasPrefix(line, []byte(first)) || len(line) < len(first)+3 {
		return 0, fmt.Errorf("it answered %q", line)
	}
	if status, err = strconv.Atoi(string(line[len(first) : len(first)+3])); err != nil {
		return 0, fmt.Errorf("it answered %q: %w", line, err)
	}
	length, renewed := -1, false
	for {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return 0, err
		}
		if len(line) == len("\r\n") {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, err
			}
		}
		renewed = renewed || bytes.HasPrefix(line, []byte("Set-Cookie: "))
	}
	if renewed {
		c.renewed++
	}
	if length < 0 {
		return 0, fmt.Errorf("its answer, %d, has no length", status)
	}
	_, err = c.in.Discard(length)
	return status, err
}

// fetchAll has all connections fetch so many requests together.
func fetchAll(all []*client, requests int, pace time.Duration) error {
	return atOnce(len(all), func(i int) error { return all[i].fetch(requests/len(all), pace*time.Duration(len(all))) })
}
