package main

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// conditions says when, on what and of what the figures are.
func conditions(now time.Time, version string) string {
	parts := []string{plural(runtime.NumCPU(), "core")}
	if model := found("/proc/cpuinfo", `(?m)^model name\s*: (.+)$`); model != "" {
		parts = append(parts, strings.Join(strings.Fields(model), " "))
	}
	if kib, err := strconv.Atoi(found("/proc/meminfo", `(?m)^MemTotal:\s*(\d+) kB$`)); err == nil {
		parts = append(parts, fmt.Sprintf("%.0f GiB of memory", float64(kib)/(1<<20)))
	}
	system := runtime.GOOS + "/" + runtime.GOARCH
	if name := found("/etc/os-release", `(?m)^PRETTY_NAME="?([^"\n]+)"?$`); name != "" {
		system = name + " (" + system + ")"
	}
	parts = append(parts, system, runtime.Version(), "khook "+version)
	return fmt.Sprintf("Measured on %s: %s.\n\n", now.UTC().Format(time.DateOnly), strings.Join(parts, ", "))
}

// found is the first group of a pattern in a file, or "" if there is none.
func found(file, pattern string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	match := regexp.MustCompile(pattern).FindSubmatch(text)
	if match == nil {
		return ""
	}
	return strings.TrimSpace(string(match[1]))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
