//go:build tools

// Package kind pins the version of kind.
package kind

import _ "sigs.k8s.io/kind"
