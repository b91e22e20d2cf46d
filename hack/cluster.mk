# The local cluster and the images (docs/local-cluster.md); included by the Makefile.

.PHONY: cluster cluster-down cluster-shell kubernetes-build prometheus-operator images kind kind-down

cluster: ## start the local Kubernetes, or use the cluster that KUBECONFIG names
	@hack/cluster up

cluster-down: ## stop the local Kubernetes and remove everything but caches
	@hack/cluster down

cluster-shell: ## open a shell where the cluster can be reached, with kubectl and helm
	@hack/cluster exec -- "$${SHELL:-/bin/sh}"

kubernetes-build: ## build the Kubernetes programs into the cache (once, about 8 minutes on two cores)
	@hack/cluster build

prometheus-operator: ## build into the cache what cluster tests of monitors start: the Prometheus operator, with its definitions, and Prometheus' discovery (once, 1 minute)
	@hack/cluster build --only prometheus-operator prometheus-discovery

images: ## build the project's images and load them into the cluster that runs
	@hack/image build-all

kind: ## create a kind cluster instead, with the project's images (needs Docker)
	@hack/cluster kind-check
	@hack/cluster kind-up $$(hack/image build-all --no-load)

kind-down: ## delete the kind cluster
	@hack/cluster kind-down
