//go:build tools

// Package helm pins the version of helm.
package helm

import _ "helm.sh/helm/v3/cmd/helm"
