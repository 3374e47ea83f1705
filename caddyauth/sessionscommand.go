package caddyauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "ldap-sessions",
		Usage: "list|show|end",
		Short: "Lists, shows and ends the sessions of a running Caddy",
		Long: `
Asks a running Caddy, through its admin endpoint, for the sessions of people who
are signed in, or ends them. A session that was ended is gone for certain when
the command returns, after a crash or a power cut too.

The admin endpoint is that of --address, else the one that the configuration
file of --config names, else Caddy's default. Unix sockets are written as
unix//run/caddy/admin.sock.

A user is named by user name, with or without the directory's label, by email,
or exactly by ID. No token and nothing that signs anybody in is ever printed.

The exit code is 0 where all is done, 4 where there is no such session or user,
and 1 for everything else.`,
		CobraFunc: func(cmd *cobra.Command) {
			flags := cmd.PersistentFlags()
			flags.String("address", "", "address of the admin endpoint")
			flags.StringP("config", "c", "", "configuration file to read that address from")
			flags.StringP("adapter", "a", "", "configuration adapter, where the file's name does not say it")
			flags.Bool("json", false, "print JSON")
			cmd.Args = cobra.NoArgs
			cmd.RunE = sessionsRun(func(*sessionsCommand, []string) error {
				return errors.New("say what to do: list, show or end")
			})
			cmd.AddCommand(sessionsListCommand(), sessionsShowCommand(), sessionsEndCommand())
		},
	})
}

func sessionsListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [--user <name>] [--directory <label>] [--limit <n>] [--users]",
		Short: "Lists sessions, or everybody who ever signed in",
		Args:  cobra.NoArgs,
		RunE:  sessionsRun((*sessionsCommand).list),
	}
	cmd.Flags().StringP("user", "u", "", "only those of a user")
	cmd.Flags().String("directory", "", "only those of a directory's users")
	cmd.Flags().Int("limit", 0, "at most so many; 0: all")
	cmd.Flags().Bool("users", false, "list users instead of sessions")
	return cmd
}

func sessionsShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show <session>",
		Short: "Shows a session",
		Args:  cobra.ExactArgs(1),
		RunE:  sessionsRun((*sessionsCommand).show),
	}
}

func sessionsEndCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "end [<session>] [--user <name>] [--directory <label>]",
		Short: "Ends a session, or all of a user",
		Args:  cobra.MaximumNArgs(1),
		RunE:  sessionsRun((*sessionsCommand).end),
	}
	cmd.Flags().StringP("user", "u", "", "end all sessions of this user")
	cmd.Flags().String("directory", "", "the user's directory, where several have the name")
	return cmd
}

// exitNotFound is the exit code where there is no such session or user. 0 to 3
// are Caddy's.
const exitNotFound = 4

// sessionsCommand is one run of the command.
type sessionsCommand struct {
	flags  caddycmd.Flags
	client adminClient
	out    sessionsPrinter
}

// sessionsRun makes a command of a method.
func sessionsRun(do func(c *sessionsCommand, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		run := func(flags caddycmd.Flags) (int, error) {
			// Caddy logs the error; cobra would print it once more, and the usage.
			cmd.SilenceErrors, cmd.SilenceUsage = true, true
			c := &sessionsCommand{flags: flags, out: newSessionsPrinter(cmd.OutOrStdout(), flags.Bool("json"))}
			address, err := caddycmd.DetermineAdminAPIAddress(flags.String("address"), nil, flags.String("config"), flags.String("adapter"))
			if err != nil {
				return caddy.ExitCodeFailedStartup, fmt.Errorf("looking for the admin endpoint: %w", err)
			}
			c.client.address = address
			err = do(c, args)
			if errors.Is(err, errNotFound) {
				return exitNotFound, err
			}
			if err != nil {
				return caddy.ExitCodeFailedStartup, err
			}
			return caddy.ExitCodeSuccess, nil
		}
		return caddycmd.WrapCommandFuncForCobra(run)(cmd, nil)
	}
}

// list prints all pages of a listing, each as it comes: there may be a million
// sessions.
func (c *sessionsCommand) list([]string) error {
	limit := c.flags.Int("limit")
	if limit < 0 {
		return fmt.Errorf("--limit %d is negative", limit)
	}
	path, kind := adminSessions, listOfSessions()
	if c.flags.Bool("users") {
		path, kind = adminUsers, listOfUsers()
	}
	query := url.Values{}
	for _, name := range []string{"user", "directory"} {
		if value := c.flags.String(name); value != "" {
			query.Set(name, value)
		}
	}
	for n := 0; ; {
		size := adminMaxLimit
		if limit > 0 {
			size = min(size, limit-n)
		}
		query.Set("limit", strconv.Itoa(size))
		body, err := c.client.do(http.MethodGet, path, query)
		if err != nil {
			return err
		}
		items, next, err := readPage(body, kind)
		if err != nil {
			return err
		}
		n += len(items)
		done := next == "" || limit > 0 && n >= limit
		if err := c.out.page(kind, items); err != nil {
			return err
		}
		if done {
			return c.out.endList(kind, n, next != "")
		}
		query.Set("cursor", next)
	}
}

// readPage takes a page of a listing apart.
func readPage(body []byte, kind listKind) (items []json.RawMessage, next string, err error) {
	var page map[string]json.RawMessage
	if err = json.Unmarshal(body, &page); err == nil {
		err = json.Unmarshal(page[kind.key], &items)
	}
	if err == nil && page["next"] != nil {
		err = json.Unmarshal(page["next"], &next)
	}
	if err != nil {
		return nil, "", fmt.Errorf("reading the answer: %w", err)
	}
	return items, next, nil
}

func (c *sessionsCommand) show(args []string) error {
	body, err := c.client.do(http.MethodGet, sessionPath(args[0]), nil)
	if err != nil {
		return err
	}
	return c.out.session(body)
}

func (c *sessionsCommand) end(args []string) error {
	user, directory := c.flags.String("user"), c.flags.String("directory")
	switch {
	case len(args) == 0 && user == "":
		return errors.New("say which: a session's ID, or --user")
	case len(args) == 1 && (user != "" || directory != ""):
		return errors.New("a session's ID goes without --user and --directory")
	case len(args) == 1:
		body, err := c.client.do(http.MethodDelete, sessionPath(args[0]), nil)
		if err != nil {
			return err
		}
		return c.out.ended(body, args[0])
	}
	query := url.Values{"user": {user}}
	if directory != "" {
		query.Set("directory", directory)
	}
	body, err := c.client.do(http.MethodDelete, adminSessions, query)
	if err != nil {
		return err
	}
	return c.out.ended(body, "")
}

func sessionPath(id string) string { return adminSessions + "/" + url.PathEscape(id) }
