package main

import (
	"context"

	"github.com/cert-manager/cert-manager/internal/webhook"
	"github.com/cert-manager/cert-manager/pkg/logs"
	"github.com/cert-manager/cert-manager/pkg/webhook/options"
	"github.com/spf13/pflag"
)

// admission serves cert-manager's validating and defaulting webhooks.
func admission(ctx context.Context, words []string) error {
	settings, err := options.NewWebhookConfiguration()
	if err != nil {
		return err
	}
	flags := pflag.NewFlagSet("webhook", pflag.ExitOnError)
	options.AddConfigFlags(flags, settings)
	if err := flags.Parse(words); err != nil {
		return err
	}
	if err := logs.ValidateAndApply(&settings.Logging); err != nil {
		return err
	}
	server, err := webhook.NewCertManagerWebhookServer(logs.Log, *settings)
	if err != nil {
		return err
	}
	return server.Run(ctx)
}
