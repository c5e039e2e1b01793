package main

import (
	"os"
	"os/signal"
	"sort"
	"syscall"
	"time"

	"github.com/micro/go-micro/v2/registry"

	"peers/common"
)

// list shows the sorted names of all services.
func (c *caller) list() common.Object {
	services, err := c.registry.ListServices()
	if err != nil {
		return common.Failed(describe(err), nil)
	}
	names := []string{}
	for _, service := range services {
		names = append(names, service.Name)
	}
	sort.Strings(names)
	return common.Ok(common.Object{"names": names})
}

// get shows one service as the registry returns it, one entry per version. A
// service that nobody has is an error or an empty list, depending on the
// registry.
func (c *caller) get(name string) common.Object {
	services, err := c.registry.GetService(name)
	if err != nil {
		return common.Failed(describe(err), nil)
	}
	if services == nil {
		services = []*registry.Service{}
	}
	return common.Ok(common.Object{"services": services})
}

// watch prints READY, then one JSON line per event.
func watch(args *common.Args) {
	var options []registry.WatchOption
	if name := args.Get("name", ""); name != "" {
		options = append(options, registry.WatchService(name))
	}
	watcher, err := registryOf(args).Watch(options...)
	if err != nil {
		common.Fatal("no watcher: %v", err)
	}
	common.AwaitWatch(args)
	common.Line("READY")

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		select {
		case <-stop:
		case <-time.After(time.Duration(args.Int("seconds", 60)) * time.Second):
		}
		watcher.Stop()
	}()
	limit := args.Int("until-count", 0)
	for seen := 0; limit == 0 || seen < limit; seen++ {
		event, err := watcher.Next()
		if err != nil {
			break
		}
		common.Line("%s", common.JSON(common.Object{"action": event.Action, "service": event.Service}))
	}
	common.Line("STOPPED")
}
