package caddyauth

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap"
)

// checkPrinter writes what ldap-check finds, as it finds it.
type checkPrinter interface {
	step(s ldap.CheckStep)
	verdict(v checkVerdictOf)

	// failure is the first error of writing.
	failure() error
}

// textPrinter writes for people.
type textPrinter struct {
	out io.Writer
	err error
}

func (p *textPrinter) printf(format string, values ...any) {
	if _, err := fmt.Fprintf(p.out, format, values...); err != nil && p.err == nil {
		p.err = fmt.Errorf("writing the result: %w", err)
	}
}

func (p *textPrinter) step(s ldap.CheckStep) {
	state := "FAILED"
	switch {
	case s.OK:
		state = "ok"
	case s.Skipped:
		state = "-"
	}
	line := fmt.Sprintf("%-13s  %-6s  %6d ms  %s", s.Name, state, s.Took.Milliseconds(), s.Detail)
	p.printf("%s\n", strings.TrimRight(line, " "))
	for _, w := range s.Warnings {
		p.printf("%15swarning: %s\n", "", w)
	}
	if s.Cause != "" {
		p.printf("%15scause: %s\n%15scure:  %s\n", "", s.Cause, "", s.Cure)
	}
}

func (p *textPrinter) verdict(v checkVerdictOf) {
	state := "ok"
	if !v.ok {
		state = "FAILED"
	}
	text := v.text
	if v.reason != "" {
		text += ", audit reason " + v.reason
	}
	p.printf("%-13s  %-6s  %9s  %s\n", checkVerdict, state, "", text)
}

func (p *textPrinter) failure() error { return p.err }

// jsonPrinter writes for programs: one object a line, with the same keys in
// every step.
type jsonPrinter struct {
	encoder *json.Encoder
	err     error
}

func newJSONPrinter(out io.Writer) *jsonPrinter {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return &jsonPrinter{encoder: encoder}
}

type (
	jsonStep struct {
		Step     string   `json:"step"`
		OK       bool     `json:"ok"`
		Skipped  bool     `json:"skipped"`
		MS       float64  `json:"ms"`
		Detail   string   `json:"detail"`
		Warnings []string `json:"warnings"`
		Cause    string   `json:"cause"`
		Cure     string   `json:"cure"`
	}
	jsonVerdict struct {
		jsonStep
		Directory string `json:"directory"`
		Status    int    `json:"status"`
		Code      code   `json:"code"`
		Reason    string `json:"reason"`
		ExitCode  int    `json:"exit_code"`
	}
)

func (p *jsonPrinter) print(line any) {
	if err := p.encoder.Encode(line); err != nil && p.err == nil {
		p.err = fmt.Errorf("writing the result: %w", err)
	}
}

func (p *jsonPrinter) step(s ldap.CheckStep) {
	p.print(jsonStep{
		Step: s.Name, OK: s.OK, Skipped: s.Skipped, MS: float64(s.Took.Round(10*time.Microsecond)) / float64(time.Millisecond),
		Detail: s.Detail, Warnings: append([]string{}, s.Warnings...), Cause: s.Cause, Cure: s.Cure,
	})
}

func (p *jsonPrinter) verdict(v checkVerdictOf) {
	p.print(jsonVerdict{
		jsonStep:  jsonStep{Step: checkVerdict, OK: v.ok, Detail: v.text, Warnings: []string{}},
		Directory: v.directory, Status: v.status, Code: v.code, Reason: v.reason, ExitCode: v.exitCode,
	})
}

func (p *jsonPrinter) failure() error { return p.err }

// Interface guards
var (
	_ checkPrinter = (*textPrinter)(nil)
	_ checkPrinter = (*jsonPrinter)(nil)
)
