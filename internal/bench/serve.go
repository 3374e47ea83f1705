package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/pprof"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddyauth/caddy-ldap"
)

// configVariable names the configuration of a child process that is a server:
// only then its CPU time and its memory are its own.
const configVariable = "CADDY_LDAP_BENCH_CONFIG"

// serve is the child. It takes commands on standard input, answers each with a
// line, and stops at its end:
//
//	cpu             the CPU time used so far, in microseconds
//	profile <file>  write a CPU profile until the next line
//	heap <file>     write a profile of what is in memory
func serve(file string) error {
	config, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := caddy.Load(config, true); err != nil {
		return err
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		command, argument, _ := strings.Cut(in.Text(), " ")
		switch command {
		case "cpu":
			used, err := cpuTime()
			if err != nil {
				return err
			}
			fmt.Println(used.Microseconds())
		case "profile":
			if err := profile(argument, in); err != nil {
				return err
			}
			fmt.Println("done")
		case "heap":
			if err := writeFile(argument, pprof.WriteHeapProfile); err != nil {
				return err
			}
			fmt.Println("done")
		}
	}
	return caddy.Stop()
}

func profile(name string, until *bufio.Scanner) error {
	return writeFile(name, func(f io.Writer) error {
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
		fmt.Println("begun")
		until.Scan()
		return nil
	})
}

func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// passOn is the handler that does nothing: what any handler costs.
type passOn struct{}

func registerPassOn() {
	caddy.RegisterModule(passOn{})
	httpcaddyfile.RegisterHandlerDirective("pass_on", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return passOn{}, nil
	})
	httpcaddyfile.RegisterDirectiveOrder("pass_on", httpcaddyfile.Before, "header")
}

// CaddyModule returns the Caddy module information.
func (passOn) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.bench_pass_on", New: func() caddy.Module { return new(passOn) }}
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (passOn) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return next.ServeHTTP(w, r)
}

// Interface guards
var _ caddyhttp.MiddlewareHandler = passOn{}
