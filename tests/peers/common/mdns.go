package common

import (
	"bufio"
	"os"
	"strings"
	"time"
)

// mdnsPort is 5353 (RFC 6762 §3) as /proc/net/udp prints it.
const mdnsPort = ":14E9"

// AwaitMulticast waits until this process has a UDP socket on the mDNS port.
// go-micro's Watch returns before its listener has opened one, and an
// announcement sent in between is lost. Where there is no /proc it returns at
// once.
func AwaitMulticast(limit time.Duration) {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		mine, err := ownSockets()
		if err != nil {
			return
		}
		for _, inode := range mdnsSockets() {
			if mine[inode] {
				// The group is joined right after the bind; nothing shows when.
				time.Sleep(20 * time.Millisecond)
				return
			}
		}
	}
	Fatal("the watcher opened no socket on the mDNS port within %v", limit)
}

func ownSockets() (map[string]bool, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, entry := range entries {
		target, err := os.Readlink("/proc/self/fd/" + entry.Name())
		if err == nil && strings.HasPrefix(target, "socket:[") {
			found[strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")] = true
		}
	}
	return found, nil
}

func mdnsSockets() (inodes []string) {
	file, err := os.Open("/proc/self/net/udp")
	if err != nil {
		return nil
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		// sl local_address rem_address st queues timer retrnsmt uid timeout inode …
		fields := strings.Fields(lines.Text())
		if len(fields) > 9 && strings.HasSuffix(fields[1], mdnsPort) {
			inodes = append(inodes, fields[9])
		}
	}
	return inodes
}
