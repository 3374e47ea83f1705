package caddyauth

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddyauth/caddy-ldap/ldap"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "ldap-check",
		Usage: "[--config <file>] [--adapter <name>] [--directory <label>] [--user <name>] [--password-stdin] [--json]",
		Short: "Goes through a sign-in step by step and says what is wrong",
		Long: `
Reads the configuration, asks the directory what a sign-in would ask, and
prints each step with its time. The first step that fails has the cause and the
cure beside it. It runs beside a server: it opens no store and no port.

Without --user it looks at the way to the directory and the service account.
With --user it also looks the account up. With --password-stdin it reads the
user's password, one line, from standard input and sends it, once: A WRONG
PASSWORD COUNTS IN THE DIRECTORY like any other, and may lock the account.

Passwords are never printed. The exit code says which step failed: 10
configuration, 11 dns, 12 connect, 13 certificate, 14 kind, 15 service_bind,
16 search, 17 account_state, 18 bind, 19 identity, 20 groups, 21 verdict;
0 means that all is well, and 1 that the command line is not understood.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Flags().StringP("config", "c", "", "configuration file (default ./Caddyfile)")
			cmd.Flags().StringP("adapter", "a", "", "configuration adapter, where the file's name does not say it")
			cmd.Flags().String("directory", "", "label of the directory to check")
			cmd.Flags().StringP("user", "u", "", "name of a user, as one would type it")
			cmd.Flags().Bool("password-stdin", false, "read the user's password from standard input, and bind once")
			cmd.Flags().Bool("json", false, "print a JSON object for each step, one a line")
			cmd.Args = cobra.NoArgs
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				run := func(flags caddycmd.Flags) (int, error) {
					// All is said on standard output; cobra would add the exit code and the usage.
					cmd.SilenceErrors, cmd.SilenceUsage = true, true
					return runCheck(cmd.Context(), flags, cmd.InOrStdin(), cmd.OutOrStdout())
				}
				return caddycmd.WrapCommandFuncForCobra(run)(cmd, args)
			}
		},
	})
}

// The steps that the command adds to those of package ldap.
const (
	checkConfiguration = "configuration"
	checkVerdict       = "verdict"
)

// firstCheckExitCode is that of the first step. 0 to 3 are Caddy's.
const firstCheckExitCode = 10

// checkExitCode is the exit code for a step that failed, 0 for none.
func checkExitCode(failed string) int {
	steps := []string{
		checkConfiguration, ldap.CheckDNS, ldap.CheckConnect, ldap.CheckCertificate, ldap.CheckKind, ldap.CheckServiceBind,
		ldap.CheckSearch, ldap.CheckAccountState, ldap.CheckBind, ldap.CheckIdentity, ldap.CheckGroups, checkVerdict,
	}
	if i := slices.Index(steps, failed); i >= 0 {
		return firstCheckExitCode + i
	}
	return 0
}

// checkTimeout bounds the whole command, above all look-ups in many
// directories.
const checkTimeout = 5 * time.Minute

// maxPasswordLine is what is read of a password, in bytes.
const maxPasswordLine = 1024

// checkOptions are the flags.
type checkOptions struct {
	config, adapter, directory, user string
	passwordStdin                    bool
}

func runCheck(ctx context.Context, flags caddycmd.Flags, in io.Reader, out io.Writer) (int, error) {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	options := checkOptions{
		config: flags.String("config"), adapter: flags.String("adapter"), directory: flags.String("directory"),
		user: flags.String("user"), passwordStdin: flags.Bool("password-stdin"),
	}
	var printer checkPrinter = &textPrinter{out: out}
	if flags.Bool("json") {
		printer = newJSONPrinter(out)
	}
	code := check(ctx, options, in, printer)
	return code, printer.failure()
}

// check runs all steps and returns the exit code.
func check(ctx context.Context, options checkOptions, in io.Reader, out checkPrinter) int {
	started := time.Now()
	step := ldap.CheckStep{Name: checkConfiguration}
	prepared, err := prepareCheck(ctx, options, in, &step)
	step.Took = time.Since(started)
	if err != nil {
		step.Cause, step.Cure = err.Error(), "correct the configuration or the command line; caddy validate checks the whole configuration"
		var cured *curedError
		if errors.As(err, &cured) {
			step.Cure = cured.cure
		}
		out.step(prepared.hidden.Step(step))
		code := checkExitCode(checkConfiguration)
		out.verdict(checkVerdictOf{text: "Caddy does not start with this configuration, or the command line cannot be followed", exitCode: code})
		return code
	}
	defer prepared.close()
	step.OK = true
	out.step(prepared.hidden.Step(step))

	request := ldap.CheckRequest{Username: options.user, Password: prepared.password}
	result := prepared.directory.Check(ctx, request, out.step)
	verdict := judgeCheck(prepared, options, result)
	out.verdict(verdict)
	return verdict.exitCode
}

// checkVerdictOf is what the wire would answer.
type checkVerdictOf struct {
	text      string
	ok        bool
	directory string
	status    int // 0: nothing is said of a sign-in
	code      code
	reason    string
	exitCode  int
}

// judgeCheck puts a result into the words of the wire.
func judgeCheck(prepared *preparedCheck, options checkOptions, result ldap.CheckResult) checkVerdictOf {
	verdict := checkVerdictOf{directory: prepared.label, reason: string(result.Reason), exitCode: checkExitCode(result.Failed)}
	wire := func(c code) string {
		verdict.status, verdict.code = refusalOf(c).status, c
		return fmt.Sprintf("%d %s", verdict.status, c)
	}
	switch {
	case result.Reason != "" && !result.Refused:
		verdict.text = "a sign-in with the right password gets " + wire(codeDirectoryUnavailable)
	case result.Reason != "" && result.Failed == ldap.CheckAccountState:
		c, detail := prepared.hints.answer(result.Reason)
		verdict.text = "with the right password the sign-in gets " + wire(c) + detailNote(detail)
		if c != codeInvalidCredentials {
			verdict.text += fmt.Sprintf(", with a wrong one %d %s", refusalOf(codeInvalidCredentials).status, codeInvalidCredentials)
		}
	case result.Reason != "":
		c, detail := prepared.hints.answer(result.Reason)
		verdict.text = "the sign-in gets " + wire(c) + detailNote(detail)
	case result.Failed == ldap.CheckServiceBind:
		verdict.text = "sign-ins go on without the service account, sessions are not re-checked; the later steps were not looked at"
	case result.Failed != "" && result.Proven:
		verdict.status = 200
		verdict.text = "the sign-in gets 200, but requests that need the group get 403 " + string(codeGroupRequired)
	case result.Failed != "":
		verdict.text = "a sign-in with the right password gets 200, but requests that need the group get 403 " + string(codeGroupRequired)
	case options.user == "":
		verdict.ok, verdict.text = true, "the directory can be used"
	case result.Undecided:
		verdict.exitCode = checkExitCode(checkVerdict)
		verdict.text = "nothing was learned of the user: add --password-stdin, or give the directory a service account (bind)"
	case result.Proven:
		verdict.ok, verdict.status, verdict.text = true, 200, "the sign-in gets 200"
	default:
		verdict.ok, verdict.text = true, "nothing speaks against the sign-in: with the right password it gets 200"
	}
	return verdict
}

func detailNote(detail string) string {
	if detail == "" {
		return ""
	}
	return " (detail " + detail + ")"
}

// readPasswordLine reads one line and takes its end off, nothing else: spaces
// may be part of a password.
func readPasswordLine(in io.Reader) (string, error) {
	reader := bufio.NewReader(io.LimitReader(in, maxPasswordLine+2))
	line, err := reader.ReadString('\n')
	switch {
	case err == nil:
		line = line[:len(line)-1]
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
	case !errors.Is(err, io.EOF):
		return "", fmt.Errorf("--password-stdin: reading standard input: %w", err)
	}
	switch {
	case line == "":
		return "", &curedError{errors.New("--password-stdin: the line is empty"), "write the password to standard input, as in: caddy ldap-check --user jdoe --password-stdin < file"}
	case len(line) > maxPasswordLine:
		return "", &curedError{fmt.Errorf("--password-stdin: the line has more than %d bytes", maxPasswordLine), "no directory is shown such a password: look at what standard input is"}
	}
	return line, nil
}
