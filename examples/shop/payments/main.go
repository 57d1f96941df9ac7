// Payments of the Piccolo shop: a card simulator that moves no money.
//
// Configuration is by environment alone: PORT (8080) and DATABASE_PATH (data/payments.db, relative to the
// working directory).
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// In-flight requests get this long after SIGTERM; then the process ends whatever they do.
const drainLimit = 4 * time.Second

var begun = time.Now()

func main() {
	if err := run(); err != nil {
		logLine("error", "payments stops", fields{"error": err.Error()})
		os.Exit(1)
	}
}

func run() error {
	store, err := openStore(env("DATABASE_PATH", "data/payments.db"))
	if err != nil {
		return fmt.Errorf("cannot open the database: %w", err)
	}
	defer store.Close()
	listener, err := net.Listen("tcp4", "0.0.0.0:"+env("PORT", "8080"))
	if err != nil {
		return err
	}
	var stopping atomic.Bool
	server := &http.Server{
		Handler:           router(store, &stopping),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      15 * time.Second,
		IdleTimeout:       75 * time.Second,
	}
	signals, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	port := listener.Addr().(*net.TCPAddr).Port
	logLine("info", "payments is listening", fields{"port": port, "startup_ms": time.Since(begun).Milliseconds()})

	select {
	case err := <-ended:
		return err
	case <-signals.Done():
	}
	stopping.Store(true)
	logLine("info", "draining", fields{"limit_ms": drainLimit.Milliseconds()})
	limit, done := context.WithTimeout(context.Background(), drainLimit)
	defer done()
	// Shutdown closes idle connections, and puts "Connection: close" on what is still being answered.
	if err := server.Shutdown(limit); errors.Is(err, context.DeadlineExceeded) {
		logLine("warn", "requests were still running at the drain limit", nil)
	}
	logLine("info", "stopped", nil)
	return nil
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
