// The grpc-go peer (no go-micro) of the interop suite; see ../README.md.
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
	default:
		common.Fatal("expected server or client, found %q", args.Command)
	}
}
