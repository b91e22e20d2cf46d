//go:build tools

// Package prometheusoperator pins the version of the Prometheus operator and of the definitions of its kinds.
package prometheusoperator

import _ "github.com/prometheus-operator/prometheus-operator/cmd/operator"
