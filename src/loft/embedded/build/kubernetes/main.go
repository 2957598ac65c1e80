// Command kubernetes is every component of a cluster in one static binary: the
// name it is called by (argv[0], usually a symbolic link) selects the component.
// One binary means one image layer, one page cache and one build.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	_ "k8s.io/client-go/plugin/pkg/client/auth"
)

var components = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kube-proxy":              proxy.NewProxyCommand,
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
}

// startVariable is the GOGC of the first seconds: while a component starts its heap only grows, and collecting it again
// and again is a quarter of the work. Afterwards GOGC counts, and what is not needed goes back to the system.
const (
	startVariable = "LOFT_START_GOGC"
	startLasts    = 15 * time.Second
)

func startQuickly(percent, usual int) {
	debug.SetGCPercent(percent)
	time.AfterFunc(startLasts, func() {
		debug.SetGCPercent(usual)
		debug.FreeOSMemory()
		startPace(usual)
	})
}

// waitVariable names a file without which the component does not begin: in a pod all containers start at
// once, and what one of them prepares need not be an init container, which would cost a second.
const (
	waitVariable = "LOFT_WAIT_FOR"
	waitPause    = 10 * time.Millisecond
	waitMost     = 10 * time.Minute
)

func waitFor(name, path string) {
	for began := time.Now(); time.Since(began) < waitMost; time.Sleep(waitPause) {
		if _, err := os.Stat(path); err == nil {
			return
		}
	}
	fmt.Fprintf(os.Stderr, "%s: %s is not there after %s; see the container that writes it\n", name, path, waitMost)
	os.Exit(1)
}

func main() {
	// `kubernetes NAME ARGS…` works like a link called NAME.
	if filepath.Base(os.Args[0]) == "kubernetes" && len(os.Args) > 1 {
		os.Args = os.Args[1:]
	}
	name := filepath.Base(os.Args[0])
	if path := os.Getenv(waitVariable); path != "" && name != "store" {
		waitFor(name, path)
	}
	usual := usualPercent()
	if percent, err := strconv.Atoi(os.Getenv(startVariable)); err == nil {
		startQuickly(percent, usual)
	} else {
		startPace(usual)
	}
	switch name {
	case "etcd":
		if folder := os.Getenv(folderVariable); folder != "" {
			if err := takeRestored(folder); err != nil {
				fmt.Fprintln(os.Stderr, "etcd: the restored store cannot be taken:", err)
				os.Exit(1)
			}
		}
		if os.Getenv(endpointVariable) != "" {
			go tendStore()
		}
		etcdmain.Main(os.Args)
	case "store":
		if err := store(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "store:", err)
			os.Exit(1)
		}
	case "kubectl":
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			kubectlutil.CheckErr(err)
		}
	default:
		component, ok := components[name]
		if !ok {
			fmt.Fprintf(os.Stderr, "kubernetes: no component is called %q\n", name)
			os.Exit(2)
		}
		os.Exit(cli.Run(component()))
	}
}
