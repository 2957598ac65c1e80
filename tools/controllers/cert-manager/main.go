// Command cert-manager runs one of cert-manager's three processes, chosen by its first argument, with the flags
// that cert-manager's own chart gives. The commands that usually do so are modules of their own, which no module
// proxy has; all that they start is in the module.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cert-manager/cert-manager/pkg/logs"
	"github.com/google/uuid"
	"github.com/spf13/pflag"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

const (
	leaseDuration = 60 * time.Second
	renewDeadline = 40 * time.Second
	retryPeriod   = 2 * time.Second
	stopGrace     = 5 * time.Second
)

var processes = map[string]func(context.Context, []string) error{
	"controller": control,
	"webhook":    admission,
	"cainjector": injector,
}

func main() {
	logs.InitLogs()
	if len(os.Args) < 2 || processes[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: cert-manager controller|webhook|cainjector FLAGS")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := processes[os.Args[1]](ctx, os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// electionFlags adds the flags of leader election and returns the namespace of the lease.
func electionFlags(flags *pflag.FlagSet) *string {
	flags.Duration("leader-election-lease-duration", leaseDuration, "")
	flags.Duration("leader-election-renew-deadline", renewDeadline, "")
	flags.Duration("leader-election-retry-period", retryPeriod, "")
	return flags.String("leader-election-namespace", "kube-system", "namespace of the lease")
}

// elected calls run once this process holds the lease, and returns what run does; losing the lease is an error.
func elected(
	ctx context.Context, config *rest.Config, namespace, name string, run func(context.Context) error,
) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	identity := resourcelock.ResourceLockConfig{Identity: uuid.NewString()}
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, namespace, name, client.CoreV1(),
		client.CoordinationV1(), identity)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	result := make(chan error, 1)
	started := func(ctx context.Context) {
		result <- run(ctx)
		cancel()
	}
	leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
		Lock: lock, Name: name, ReleaseOnCancel: true,
		LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: started, OnStoppedLeading: func() {}},
	})
	select {
	case err := <-result:
		return err
	case <-time.After(stopGrace):
		return nil
	}
}
