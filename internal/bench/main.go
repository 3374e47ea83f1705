// Command bench measures what the plugin costs: a session's look-up, a request,
// memory, disk and a reload, with a million sessions stored, and what differs
// with the sessions in Redis. It prints figures, ratios first, each beside its
// limit, and judges none of them. `make bench` runs it.
//
// What is compared is measured in alternating rounds of one run, so that what
// else the machine does falls on both sides.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// bench is one run.
type bench struct {
	sessions int // stored
	active   int // of these: in use
	inRedis  int // stored there
	short    bool

	// Files for profiles of protected requests and of the memory of the server
	// that has the sessions in use; empty: none.
	cpuProfile, memProfile string

	log    *log.Logger // not the default one, which Caddy takes over
	dir    string      // everything is in it
	folder *folder
	report report

	// directory proves who people are to the servers that are measured; nobody
	// but one browser signs in.
	directory *ldaptest.Server
}

// part is one thing that is measured.
type part struct {
	name    string
	measure func(*bench, context.Context) error
}

// The order matters: writes changes the folder, and redis has its own.
var parts = []part{
	{"disk", (*bench).disk},
	{"lookup", (*bench).lookup},
	{"memory", (*bench).memory},
	{"cpu", (*bench).cpu},
	{"reload", (*bench).reload},
	{"writes", (*bench).writes},
	{"redis", (*bench).redis},
}

func main() {
	registerPassOn()
	if file := os.Getenv(configVariable); file != "" {
		if err := serve(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	b := &bench{log: log.New(os.Stderr, "", log.Ltime)}
	var in, only string
	flag.IntVar(&b.sessions, "sessions", 1_000_000, "how many sessions are stored")
	flag.IntVar(&b.active, "active", 10_000, "how many of them are in use")
	flag.IntVar(&b.inRedis, "redis-sessions", 200_000, "how many are stored in Redis, no more than sessions")
	flag.BoolVar(&b.short, "short", false, "fewer rounds, to try it: the figures mean little")
	flag.StringVar(&only, "parts", "", "measure these parts only, separated by commas: "+strings.Join(names(), ", "))
	flag.StringVar(&b.cpuProfile, "cpuprofile", "", "the part cpu also writes a CPU profile of protected requests to this file")
	flag.StringVar(&b.memProfile, "memprofile", "", "the part memory also writes a profile of what is in memory to this file")
	flag.StringVar(&in, "dir", "", "make the folder in this one, which decides on the disk (default: the one for temporary files)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := b.run(ctx, in, only); err != nil {
		b.log.Fatal(err)
	}
}

func names() []string {
	var all []string
	for _, p := range parts {
		all = append(all, p.name)
	}
	return all
}

// run measures the chosen parts. One that fails does not keep the others from
// being measured and reported.
func (b *bench) run(ctx context.Context, in, only string) (err error) {
	chosen := names()
	if only != "" {
		chosen = strings.Split(only, ",")
	}
	for _, name := range chosen {
		if !slices.Contains(names(), name) {
			return fmt.Errorf("there is no part %q", name)
		}
	}
	if b.active < 2*clients || b.active > b.sessions {
		return fmt.Errorf("%d sessions in use of %d: want at least %d, and no more than there are", b.active, b.sessions, 2*clients)
	}
	b.inRedis = min(b.inRedis, b.sessions)
	if b.dir, err = os.MkdirTemp(in, "caddy-ldap-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if b.directory, err = ldaptest.Start("127.0.0.1:0", ldaptest.Demo()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.directory.Close()) }()

	began, load := time.Now(), loadAverage()
	var took time.Duration
	if b.folder, took, err = b.fill(ctx, filepath.Join(b.dir, "sessions"), b.sessions); err != nil {
		return err
	}
	b.report.other(perSecond(b.sessions, took), "sessions created a second while the folder was filled", "%d at once", fillers)
	var failed error
	for _, p := range parts {
		if !slices.Contains(chosen, p.name) || ctx.Err() != nil {
			continue
		}
		b.log.Printf("measuring: %s", p.name)
		if err := p.measure(b, ctx); err != nil {
			failed = errors.Join(failed, fmt.Errorf("measuring %s: %w", p.name, err))
		}
	}
	fmt.Printf("\n%s %s/%s, %d cores, %s sessions stored, %s in use, on %s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH,
		runtime.NumCPU(), thousands(b.sessions), thousands(b.active), diskKind(b.dir))
	fmt.Printf("load average %s before, %s after (two cores are busy at 2); it took %s\n", load, loadAverage(), time.Since(began).Round(time.Second))
	if b.short {
		fmt.Println("a short run, to try it: the figures mean little")
	}
	b.report.print(os.Stdout)
	return errors.Join(ctx.Err(), failed)
}
