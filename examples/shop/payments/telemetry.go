package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
)

type fields map[string]any

var (
	stdout      sync.Mutex
	traceparent = regexp.MustCompile(`^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}`)
)

// logLine writes one JSON object per line; empty strings are left out.
func logLine(level, msg string, more fields) {
	line := fields{"ts": time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), "level": level, "msg": msg, "service": "payments"}
	for key, value := range more {
		if value != "" {
			line[key] = value
		}
	}
	text, err := json.Marshal(line)
	if err != nil {
		return
	}
	stdout.Lock()
	defer stdout.Unlock()
	os.Stdout.Write(append(text, '\n'))
}

// traceID is the trace id of a well-formed W3C traceparent, or "".
func traceID(header string) string {
	match := traceparent.FindStringSubmatch(header)
	if match == nil || strings.HasPrefix(header, "ff") || strings.Trim(match[1], "0") == "" || strings.Trim(match[2], "0") == "" {
		return ""
	}
	return match[1]
}

// observe gives every request an id, and every request but a passing health check a line in the log.
func observe(stopping *atomic.Bool) gin.HandlerFunc {
	return func(c *gin.Context) {
		start := time.Now()
		id := c.GetHeader("x-request-id")
		if id == "" || len(id) > 128 {
			id = newID()
		}
		c.Header("x-request-id", id)
		if stopping.Load() {
			c.Header("Connection", "close")
		}
		c.Set("request_id", id)
		c.Next()
		path, status := c.Request.URL.Path, c.Writer.Status()
		if (path == "/healthz" || path == "/readyz") && status < 500 {
			return
		}
		level := "info"
		if status >= 500 {
			level = "error"
		}
		logLine(level, "request", fields{
			"method": c.Request.Method, "path": path, "status": status,
			"duration_ms": float64(time.Since(start).Microseconds()/100) / 10,
			"trace_id":    traceID(c.GetHeader("traceparent")), "request_id": id,
		})
	}
}

func newID() string {
	var raw [16]byte
	rand.Read(raw[:]) // never fails, says its documentation
	return hex.EncodeToString(raw[:])
}
