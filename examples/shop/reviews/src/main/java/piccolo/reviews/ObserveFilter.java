package piccolo.reviews;

import jakarta.servlet.FilterChain;
import jakarta.servlet.ServletException;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.slf4j.MDC;
import org.springframework.core.Ordered;
import org.springframework.core.annotation.Order;
import org.springframework.stereotype.Component;
import org.springframework.web.filter.OncePerRequestFilter;

/** Gives every request its context, and every request but a passing health check a line in the log. */
@Component
@Order(Ordered.HIGHEST_PRECEDENCE)
public class ObserveFilter extends OncePerRequestFilter {
    private static final Logger LOG = LoggerFactory.getLogger(ObserveFilter.class);
    private static final Pattern TRACEPARENT =
            Pattern.compile("^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}.*");

    private final Draining draining;

    ObserveFilter(Draining draining) {
        this.draining = draining;
    }

    @Override
    protected void doFilterInternal(HttpServletRequest request, HttpServletResponse response, FilterChain chain)
            throws ServletException, IOException {
        long begun = System.nanoTime();
        String given = request.getHeader("x-request-id");
        String requestId = given == null || given.isEmpty() || given.length() > 128 ? UUID.randomUUID().toString() : given;
        MDC.put("request_id", requestId);
        String traceparent = request.getHeader("traceparent");
        Matcher match = TRACEPARENT.matcher(traceparent == null ? "" : traceparent);
        if (match.matches()) {
            MDC.put("trace_id", match.group(1));
        }
        response.setHeader("x-request-id", requestId);
        if (draining.active()) {
            response.setHeader("Connection", "close");
        }
        try {
            chain.doFilter(request, response);
        } finally {
            record(request, response.getStatus(), begun);
            MDC.clear();
        }
    }

    private static void record(HttpServletRequest request, int status, long begun) {
        String path = request.getRequestURI();
        if (status < 500 && (path.equals("/healthz") || path.equals("/readyz"))) {
            return;
        }
        (status >= 500 ? LOG.atError() : LOG.atInfo())
                .addKeyValue("method", request.getMethod())
                .addKeyValue("path", path)
                .addKeyValue("status", status)
                .addKeyValue("duration_ms", Math.round((System.nanoTime() - begun) / 100_000.0) / 10.0)
                .log("request");
    }
}
