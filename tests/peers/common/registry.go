package common

import "time"

// AwaitWatch waits until a watcher that was just made hears what happens.
func AwaitWatch(args *Args) {
	if args.Get("registry", "mdns") == "mdns" {
		AwaitMulticast(5 * time.Second)
		return
	}
	// Watch returns before the server knows of it, and nothing tells when it does.
	time.Sleep(500 * time.Millisecond)
}

// AwaitFarewell waits, after the service has ended, until what it said last has
// left: go-micro's Deregister over NATS only hands its message to a buffer.
func AwaitFarewell(args *Args) {
	if args.Get("registry", "mdns") == "nats" {
		time.Sleep(300 * time.Millisecond)
	}
}
