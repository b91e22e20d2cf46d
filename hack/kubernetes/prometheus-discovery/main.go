// Command discover finds targets in a cluster as Prometheus does, for a Prometheus that was built without that
// (Debian's), and keeps them in files for its file_sd_configs.
//
// Its standard input is YAML: a kubernetes_sd_config by the name of each job. FOLDER/NAME.json has a job's targets, and is
// whole at any time.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"gopkg.in/yaml.v2"
)

type target struct {
	Targets []model.LabelValue `json:"targets"`
	Labels  model.LabelSet     `json:"labels"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: discover FOLDER <JOBS")
		os.Exit(2)
	}
	if err := run(os.Stdin, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "discover:", err)
		os.Exit(1)
	}
}

func run(input io.Reader, folder string) error {
	text, err := io.ReadAll(input)
	if err != nil {
		return err
	}
	jobs := map[string]*kubernetes.SDConfig{}
	if err := yaml.UnmarshalStrict(text, &jobs); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	failed := make(chan error)
	for name, config := range jobs {
		found, err := discovered(ctx, config)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		go func() { failed <- keep(found, filepath.Join(folder, name+".json")) }()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

func discovered(ctx context.Context, config *kubernetes.SDConfig) (<-chan []*targetgroup.Group, error) {
	registry := prometheus.NewRegistry()
	metrics := config.NewDiscovererMetrics(registry, discovery.NewRefreshMetrics(registry))
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	discoverer, err := config.NewDiscoverer(discovery.DiscovererOptions{Logger: logger, Metrics: metrics})
	if err != nil {
		return nil, err
	}
	found := make(chan []*targetgroup.Group)
	go discoverer.Run(ctx, found)
	return found, nil
}

// keep writes what is there after each change. Labels of single targets cannot stand in such a file, so each has a group.
func keep(found <-chan []*targetgroup.Group, path string) error {
	known := map[string]*targetgroup.Group{}
	for groups := range found {
		for _, group := range groups {
			known[group.Source] = group
		}
		targets := []target{}
		for _, group := range known {
			for _, labels := range group.Targets {
				all := group.Labels.Merge(labels)
				address := all[model.AddressLabel]
				delete(all, model.AddressLabel)
				targets = append(targets, target{Targets: []model.LabelValue{address}, Labels: all})
			}
		}
		if err := write(path, targets); err != nil {
			return err
		}
	}
	return errors.New("the discovery ended")
}

func write(path string, targets []target) error {
	text, err := json.Marshal(targets)
	if err != nil {
		return err
	}
	partial := path + ".partial"
	if err := os.WriteFile(partial, text, 0o600); err != nil {
		return err
	}
	return os.Rename(partial, path)
}
