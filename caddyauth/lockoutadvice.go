package caddyauth

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/caddyauth/caddy-ldap/ldap"
	"github.com/caddyauth/caddy-ldap/throttle"
)

// adviseThrottle warns where the directory locks accounts before the throttle
// has refused the guesses that would do so. known is false where the directory
// could not be asked: it is to be asked again.
func (app *App) adviseThrottle(ctx context.Context, directory *directoryHandle) (known bool) {
	if !app.throttled {
		return true
	}
	policies, err := directory.Lockout(ctx)
	if err != nil {
		return false
	}
	limit := app.throttleLimits.Account
	for _, policy := range policies {
		if guesses(limit, policy.Window) < policy.Threshold {
			continue
		}
		app.logger.Warn("throttle account is not below the directory's own lockout threshold: strangers can lock people's accounts: "+lockoutCure(limit, policy),
			zap.String("directory", directory.Label()), zap.Int("throttle_account", limit.Failures), zap.Duration("throttle_window", limit.Window),
			zap.Int("lockout_threshold", policy.Threshold), zap.Duration("lockout_window", policy.Window), zap.String("policy", policy.DN))
		return true
	}
	return true
}

// guesses is how many wrong passwords the throttle lets through while the
// directory counts. One that never forgets them has only a sign-in of the owner
// to begin anew, of which nobody knows when it comes: one window is compared.
func guesses(limit throttle.Limit, counts time.Duration) int {
	windows := counts / limit.Window
	if counts%limit.Window > 0 {
		windows++
	}
	return limit.Failures * max(int(windows), 1)
}

// lockoutCure is what keeps guesses below a threshold.
func lockoutCure(limit throttle.Limit, policy ldap.LockoutPolicy) string {
	if policy.Threshold == 1 {
		return "no limit is below 1: raise the directory's threshold"
	}
	fewer := (policy.Threshold - 1) / (guesses(limit, policy.Window) / limit.Failures)
	longer := policy.Window > limit.Window && policy.Window <= maxWindow
	switch longest := min(limit.Failures, policy.Threshold-1); {
	case longer && fewer > 0:
		return fmt.Sprintf("allow %d failures at most, or count them for at least %s: throttle account %d %s", fewer, policy.Window, longest, policy.Window)
	case longer:
		return fmt.Sprintf("count failures for at least %s: throttle account %d %s", policy.Window, longest, policy.Window)
	case fewer > 0:
		return fmt.Sprintf("allow %d failures at most", fewer)
	}
	return fmt.Sprintf("count failures for longer, up to %s, or raise the directory's threshold", maxWindow)
}
