package piccolo.reviews;

import java.lang.management.ManagementFactory;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.context.event.ApplicationReadyEvent;
import org.springframework.boot.web.servlet.context.ServletWebServerApplicationContext;
import org.springframework.context.event.EventListener;

/**
 * Ratings and reviews of the Piccolo shop. Configuration is by environment alone: PORT (8080) and DATABASE_PATH
 * (data/reviews.db, relative to the working directory).
 */
@SpringBootApplication
public class ReviewsApplication {
    private static final Logger LOG = LoggerFactory.getLogger(ReviewsApplication.class);

    public static void main(String[] args) {
        SpringApplication.run(ReviewsApplication.class, args);
    }

    @EventListener
    void listening(ApplicationReadyEvent event) {
        if (event.getApplicationContext() instanceof ServletWebServerApplicationContext context) {
            LOG.atInfo()
                    .addKeyValue("port", context.getWebServer().getPort())
                    .addKeyValue("startup_ms", ManagementFactory.getRuntimeMXBean().getUptime())
                    .log("reviews is listening");
        }
    }
}
