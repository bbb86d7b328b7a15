//go:build tools

// Package kubernetes names the programs that can be built in this module, so that go.sum holds the hashes of all that
// they need. ../kubernetes.mjs builds those that tests start, and nothing else is downloaded for the others.
package kubernetes

import (
	_ "helm.sh/helm/v4/cmd/helm"
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-proxy"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "k8s.io/kubernetes/cmd/kubectl"
	_ "k8s.io/kubernetes/cmd/kubelet"
)
