package main

import (
	"context"
	"fmt"
	"net"
	"time"

	_ "github.com/cert-manager/cert-manager/internal/controller/feature"
	"github.com/cert-manager/cert-manager/internal/kube"
	"github.com/cert-manager/cert-manager/pkg/controller"
	shim "github.com/cert-manager/cert-manager/pkg/controller/certificate-shim/ingresses"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	"github.com/cert-manager/cert-manager/pkg/controller/clusterissuers"
	"github.com/cert-manager/cert-manager/pkg/controller/issuers"
	"github.com/cert-manager/cert-manager/pkg/healthz"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned"
	"github.com/cert-manager/cert-manager/pkg/logs"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	logsapi "k8s.io/component-base/logs/api/v1"
)

const workers = 5

// Issuers that ask services elsewhere (ACME, Vault, Venafi) are left out: nothing is asked outside of the machine.
var controllers = []string{
	issuers.ControllerName,
	clusterissuers.ControllerName,
	shim.ControllerName,
	approver.ControllerName,
	ca.CRControllerName,
	selfsigned.CRControllerName,
	trigger.ControllerName,
	issuing.ControllerName,
	keymanager.ControllerName,
	requestmanager.ControllerName,
	readiness.ControllerName,
	revisionmanager.ControllerName,
}

// control runs the controllers.
func control(ctx context.Context, words []string) error {
	settings := logsapi.NewLoggingConfiguration()
	flags := pflag.NewFlagSet("controller", pflag.ExitOnError)
	logs.AddFlags(settings, flags)
	resources := flags.String("cluster-resource-namespace", "kube-system", "namespace of ClusterIssuers' Secrets")
	owned := flags.Bool("enable-certificate-owner-ref", false, "Secrets go with their Certificates")
	flags.String("acme-http01-solver-image", "", "unused")
	flags.Int("max-concurrent-challenges", 0, "unused")
	namespace := electionFlags(flags)
	if err := flags.Parse(words); err != nil {
		return err
	}
	if err := logs.ValidateAndApply(settings); err != nil {
		return err
	}
	access, err := kube.BuildClientConfig("", "")
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", ":9403")
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return healthz.NewServer(20*time.Second).Start(ctx, listener) })
	group.Go(func() error {
		return elected(ctx, access, *namespace, "cert-manager-controller", func(ctx context.Context) error {
			return work(ctx, settingsOf(*resources, *owned))
		})
	})
	return group.Wait()
}

func work(ctx context.Context, settings controller.ContextOptions) error {
	factory, err := controller.NewContextFactory(ctx, settings)
	if err != nil {
		return err
	}
	shared, err := factory.Build()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	running := make([]controller.Interface, 0, len(controllers))
	for _, name := range controllers {
		one, err := controller.Known()[name](factory)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		running = append(running, one)
	}
	shared.SharedInformerFactory.Start(ctx.Done())
	shared.KubeSharedInformerFactory.Start(ctx.Done())
	shared.HTTP01ResourceMetadataInformersFactory.Start(ctx.Done())
	for _, one := range running {
		group.Go(func() error { return one.Run(workers, ctx) })
	}
	return group.Wait()
}

func settingsOf(resources string, owned bool) controller.ContextOptions {
	return controller.ContextOptions{
		KubernetesAPIQPS:   20,
		KubernetesAPIBurst: 50,
		IssuerOptions:      controller.IssuerOptions{ClusterResourceNamespace: resources},
		IngressShimOptions: controller.IngressShimOptions{
			DefaultIssuerKind:                 "Issuer",
			DefaultIssuerGroup:                "cert-manager.io",
			DefaultAutoCertificateAnnotations: []string{"kubernetes.io/tls-acme"},
		},
		CertificateOptions: controller.CertificateOptions{
			EnableOwnerRef:                           owned,
			CopiedAnnotationPrefixes:                 []string{"*", "-kubectl.kubernetes.io/"},
			CertificateRequestMinimumBackoffDuration: time.Hour,
			CertificateRequestMaximumBackoffDuration: 32 * time.Hour,
		},
	}
}
