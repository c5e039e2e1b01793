// The go-micro v2 peer of the interop suite; see ../README.md.
package main

import (
	"time"

	"peers/common"
)

func main() {
	args := common.ParseArgs()
	switch args.Command {
	case "server":
		serve(args)
	case "client":
		c := newCaller(args)
		common.RunCases(args.Words, time.Duration(args.Int("limit", 20000))*time.Millisecond, c.run)
	case "list":
		common.Line("%s", common.JSON(newCaller(args).list()))
	case "get":
		common.Line("%s", common.JSON(newCaller(args).get(args.Need("name"))))
	case "watch":
		watch(args)
	case "subscribe":
		subscribe(args)
	case "publish":
		publish(args)
	default:
		common.Fatal("expected server, client, list, get, watch, subscribe or publish, found %q", args.Command)
	}
}
