package caddyauth

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// sessionsPrinter writes what ldap-sessions is answered.
type sessionsPrinter interface {
	// page writes some of a listing, endList how many it had and whether there
	// are more.
	page(kind listKind, items []json.RawMessage) error
	endList(kind listKind, n int, more bool) error

	session(answer []byte) error

	// ended writes what was ended: the session id, or all that the answer names.
	ended(answer []byte, id string) error
}

func newSessionsPrinter(out io.Writer, asJSON bool) sessionsPrinter {
	if asJSON {
		return &jsonSessions{out: out}
	}
	return &textSessions{out: out}
}

// listKind is what a listing lists: its key in an answer and its columns.
type listKind struct {
	key, one string
	columns  []string
	row      func(item []byte) ([]string, error)
}

func listOfSessions() listKind {
	columns := []string{"SESSION", "USER", "NAME", "DIRECTORY", "CLIENT IP", "SIGNED IN", "LAST SEEN", "LEFT", "AT MOST"}
	return listKind{"sessions", "session", columns, func(item []byte) ([]string, error) {
		var s adminSession
		err := json.Unmarshal(item, &s)
		return []string{
			s.ID, s.User, short(s.Name), s.Directory, s.ClientIP, timeText(s.Created), timeText(s.LastSeen),
			secondsText(&s.SecondsLeft), secondsText(s.AbsoluteSecondsLeft),
		}, err
	}}
}

func listOfUsers() listKind {
	columns := []string{"USER", "NAME", "EMAIL", "DIRECTORY", "ID", "FIRST SIGN-IN", "LAST SIGN-IN", "SIGN-INS"}
	return listKind{"users", "user", columns, func(item []byte) ([]string, error) {
		var u adminUser
		err := json.Unmarshal(item, &u)
		return []string{
			u.Username, short(u.Name), short(u.Email), u.Directory, u.ID, timeText(u.FirstSignIn), timeText(u.LastSignIn),
			strconv.FormatUint(u.SignIns, 10),
		}, err
	}}
}

func listOfEnded() listKind {
	columns := []string{"SESSION", "USER", "DIRECTORY", "CLIENT IP", "SIGNED IN"}
	return listKind{"sessions", "session", columns, func(item []byte) ([]string, error) {
		var s adminEndedSession
		err := json.Unmarshal(item, &s)
		return []string{s.ID, s.User, s.Directory, s.ClientIP, timeText(s.Created)}, err
	}}
}

// count is how many things a listing has, in words.
func (k *listKind) count(n int) string {
	if n == 1 {
		return "1 " + k.one
	}
	return fmt.Sprintf("%d %ss", n, k.one)
}

// short keeps a name from pushing the other columns off the screen.
func short(name string) string {
	const most = 40
	if runes := []rune(name); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return name
}

func timeText(at time.Time) string { return at.UTC().Format(time.RFC3339) }

func secondsText(seconds *int64) string {
	if seconds == nil {
		return "-"
	}
	return (time.Duration(*seconds) * time.Second).String()
}

// textSessions writes for people.
type textSessions struct {
	out    io.Writer
	headed bool
}

// page aligns the columns of a page: of all pages would be all in memory.
func (p *textSessions) page(kind listKind, items []json.RawMessage) error {
	var rows [][]string
	if !p.headed && len(items) > 0 {
		p.headed = true
		rows = append(rows, kind.columns)
	}
	for _, item := range items {
		row, err := kind.row(item)
		if err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
		rows = append(rows, row)
	}
	return p.table(rows)
}

func (p *textSessions) table(rows [][]string) error {
	table := tabwriter.NewWriter(p.out, 0, 8, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if cell = printable(cell); cell == "" {
				cell = "-"
			}
			row[i] = cell
		}
		// A write that fails is an error of the flush too.
		_, _ = fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	return writeError(table.Flush())
}

func (p *textSessions) endList(kind listKind, n int, more bool) error {
	text := kind.count(n)
	if more {
		text += ", and there are more"
	}
	return p.line(text)
}

func (p *textSessions) line(text string) error {
	_, err := fmt.Fprintln(p.out, text)
	return writeError(err)
}

func (p *textSessions) session(answer []byte) error {
	var s adminSession
	if err := json.Unmarshal(answer, &s); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return p.table([][]string{
		{"session", s.ID}, {"user", s.User}, {"name", s.Name}, {"directory", s.Directory}, {"user id", s.UserID}, {"client ip", s.ClientIP},
		{"signed in", timeText(s.Created)}, {"last seen", timeText(s.LastSeen)},
		{"left", secondsText(&s.SecondsLeft)}, {"at most", secondsText(s.AbsoluteSecondsLeft)},
	})
}

func (p *textSessions) ended(answer []byte, id string) error {
	var ended struct {
		Ended    int               `json:"ended"`
		Sessions []json.RawMessage `json:"sessions"`
	}
	if err := json.Unmarshal(answer, &ended); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if id != "" {
		return p.line("session " + printable(id) + " ended")
	}
	listed := listOfEnded()
	if err := p.page(listed, ended.Sessions); err != nil {
		return err
	}
	return p.line(listed.count(ended.Ended) + " ended")
}

// jsonSessions writes for programs: what the API answers, with the pages of a
// listing in one.
type jsonSessions struct {
	out  io.Writer
	some bool // of a listing
	open bool
}

func (p *jsonSessions) page(kind listKind, items []json.RawMessage) error {
	if !p.open {
		p.open = true
		if err := p.write(`{"` + kind.key + `":[`); err != nil {
			return err
		}
	}
	for _, item := range items {
		text := string(printableJSON(item))
		if p.some {
			text = "," + text
		}
		p.some = true
		if err := p.write(text); err != nil {
			return err
		}
	}
	return nil
}

func (p *jsonSessions) endList(listKind, int, bool) error { return p.write("]}\n") }

func (p *jsonSessions) session(answer []byte) error { return p.answer(answer) }

func (p *jsonSessions) ended(answer []byte, _ string) error { return p.answer(answer) }

func (p *jsonSessions) answer(answer []byte) error {
	return p.write(strings.TrimRight(string(printableJSON(answer)), "\n") + "\n")
}

func (p *jsonSessions) write(text string) error {
	_, err := io.WriteString(p.out, text)
	return writeError(err)
}

func writeError(err error) error {
	if err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}

// Interface guards
var (
	_ sessionsPrinter = (*textSessions)(nil)
	_ sessionsPrinter = (*jsonSessions)(nil)
)
